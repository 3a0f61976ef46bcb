"""A store as an earlier version left it: what it published stays done, what it was at goes on, its jobs are its jobs.

`tests/fixtures/store_9aa58c9` was made by that commit, on the Slurm of these tests: it has published nodes, one that
failed, one whose worker was killed after three of its six epochs, and two that wait in the queue.
"""

from __future__ import annotations

import getpass
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from launch import queue
from launch.queue import Queue
from orchestrator import cancel, gc, logs, orphans, plan, why
from orchestrator.command import Study
from orchestrator.plan import Entry
from stages.store import Store
from tests.conftest import ROOT, carry_out, study

pytestmark = pytest.mark.usefixtures("toys")

MADE = ROOT / "tests" / "fixtures" / "store_9aa58c9"
#: Tokens of the two jobs that were queued, and the snapshot of their code.
TRAIN, PROBE, CODE = "490010b415a0", "27d05601ff8c", "4387f865f6ba6aaa"
VARIANTS = {
    "Done": [{"toy_train": {"epochs": 2}}, {"toy_probe": {"digit": 0}}],
    "Failed": [{"toy_train": {"epochs": 2, "rate": 3.0, "limit": 1.0}}],
    "Stopped": [{"toy_train": {"epochs": 6, "rate": 4.0, "seconds": 0.4}}],
    "Queued": [{"toy_train": {"epochs": 3, "rate": 5.0}}, {"toy_probe": {"digit": 0}}],
}
YEAR = 365 * 86400.0


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The store, as old as such a store is."""
    root = tmp_path / "store"
    shutil.copytree(MADE, root)
    for file in [file for file in root.rglob("*") if file.is_file()]:
        text = file.read_text().replace("@STORE@", str(root))
        file.write_text(text.replace('"user": "root"', f'"user": "{getpass.getuser()}"'))
    for path in [root, *root.rglob("*")]:
        os.utime(path, (time.time() - YEAR, time.time() - YEAR))
    return root


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm still has both jobs."""
    show(monkeypatch, [waits("1", TRAIN, "Resources"), waits("2", PROBE, "Dependency", "afterok:1(unfulfilled)")])


def waits(id: str, token: str, reason: str, after: str = "") -> queue.Entry:
    return queue.Entry(id=id, state="PENDING", reason=reason, user=getpass.getuser(), node="", token=token, after=after)


def show(monkeypatch: pytest.MonkeyPatch, entries: Iterable[queue.Entry]) -> None:
    seen = Queue(entries)
    monkeypatch.setattr(queue, "read", lambda users: seen)


def planned(root: Path) -> tuple[Study, dict[str, Entry]]:
    made = Study(*study(root, VARIANTS))
    return made, {f"{each.node.stage}/{each.node.label}": each for each in plan.make(made.graph, made.store)}


def test_what_was_published_is_done(earlier: Path, queued: None) -> None:
    made, entries = planned(earlier)
    done = ["toy_base/base", "toy_train/Done", "toy_probe/Done"]
    assert [name for name, entry in entries.items() if entry.state == "done"] == done
    assert all(entries[name].reason.startswith("published") for name in done)
    assert [answer.state for answer in why.explain("toy_probe/Done", made.graph, made.store)] == ["done"]


def test_a_memory_of_that_version_is_known_or_made_anew(earlier: Path, queued: None) -> None:
    for name in (".sources.json", ".records-1.json"):
        (earlier / name).write_text(
            '{"toy_base/base-9caeb8f1d2:1:2:3": {"fingerprint": "9", "sizes": {"model.txt": 3}}}'
        )
    _, entries = planned(earlier)
    assert entries["toy_base/base"].state == "done"


def test_what_failed_says_why(earlier: Path, queued: None) -> None:
    made, entries = planned(earlier)
    failed = entries["toy_train/Failed"]
    assert (failed.state, failed.reason) == ("failed", "failed before: toy_train.limit=1.0: reached 13.5")
    found = logs.newest(failed.node, made.graph, made.store)
    assert found is not None and "reached 13.5" in found.read_text()


def test_what_was_killed_goes_on_from_what_it_had_saved(
    earlier: Path, queued: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, entries = planned(earlier)
    assert (entries["toy_train/Stopped"].state, entries["toy_train/Stopped"].reason) == (
        "run",
        "was interrupted; continues",
    )
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    _, graph, store = study(earlier, {"Stopped": VARIANTS["Stopped"]})
    outcome = carry_out(graph, store, "local")
    assert [node.label for node in outcome.executed] == ["Stopped"] and not outcome.failed
    events = [line.split()[2] for line in (tmp_path / "journal").read_text().splitlines()]
    assert events.count("epoch") == 3
    record = store.record("toy_train", entries["toy_train/Stopped"].node.fingerprint)
    assert record is not None and record["attempts"] == 2 and record["summary"]["value"] == 1.5 * 4**6


def test_its_jobs_are_seen_in_the_queue_and_not_submitted_again(earlier: Path, queued: None) -> None:
    made, entries = planned(earlier)
    for name in ("toy_train/Queued", "toy_probe/Queued"):
        assert entries[name].state == "queued" and not entries[name].open
    assert entries["toy_train/Queued"].reason.startswith("job 1") and "waits" in entries["toy_train/Queued"].reason
    assert entries["toy_train/Queued"].standing.job == "1"


def test_gc_leaves_the_order_and_the_code_of_its_jobs(earlier: Path, queued: None) -> None:
    garbage = {each.path for each in gc.collect(Store(earlier))}
    kept = {earlier / "jobs" / TRAIN, earlier / "jobs" / PROBE, earlier / "snapshots" / CODE}
    assert kept.isdisjoint(garbage) and all(path.is_dir() for path in kept)


def test_gc_takes_the_order_and_the_code_of_jobs_that_are_over(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, [])
    for folder in (earlier / "toy_train").glob(".a916*"):  # published by the job
        shutil.rmtree(folder)
    for folder in (earlier / "toy_probe").glob(".e443*"):
        shutil.rmtree(folder)
    garbage = {each.path for each in gc.collect(Store(earlier))}
    assert {earlier / "jobs" / TRAIN, earlier / "jobs" / PROBE, earlier / "snapshots" / CODE} <= garbage


def test_cancel_ends_its_jobs(earlier: Path, queued: None) -> None:
    made, entries = planned(earlier)
    node = entries["toy_train/Queued"].node
    cut = cancel.look(list(entries.values()), [node], made.graph, made.store)
    assert set(cut.jobs) == {"1", "2"} and not cut.left


def test_its_jobs_are_no_orphans(earlier: Path, queued: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(queue, "try_cancel", lambda jobs: ended.extend(jobs))
    orphans.cancel(Store(earlier), lambda text: None)
    assert ended == []


def test_what_its_lost_jobs_were_to_do_runs_again(earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    show(monkeypatch, [])
    monkeypatch.setattr(Queue, "cluster", None)
    _, entries = planned(earlier)
    lost = entries["toy_train/Queued"]
    assert lost.state == "run" and "is gone" in lost.reason and lost.reason.endswith("before it started")
