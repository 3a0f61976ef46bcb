"""Carrying out a plan: every node once, nothing half, and the same end however often it is interrupted."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator import plan
from orchestrator.run import Run
from stages import artifact
from stages.identity import fingerprint, identity
from tests.conftest import ROOT, TOYS, carry_out, study

pytestmark = pytest.mark.usefixtures("toys")


def summaries(store: Path) -> dict[str, object]:
    """Label and summary of every published artifact, by fingerprint."""
    records = [json.loads(file.read_text()) for file in store.glob("[!.]*/[!.]*/record.json")]
    return {record["fingerprint"]: record["summary"] for record in records}


def test_a_study_runs_once(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store")
    first = carry_out(found, store)
    second = carry_out(found, store)
    assert len(first.executed) == 5 and not first.failed
    assert second.executed == []
    assert {entry.state for entry in plan.make(found, store)} == {"done"}


def test_every_record_rebuilds_its_node(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store")
    carry_out(found, store)
    for node in found.nodes.values():
        folder, record = store.find(node.stage, node.fingerprint), store.record(node.stage, node.fingerprint)
        assert folder is not None and record is not None
        inputs = {kind: given["fingerprint"] for kind, given in record["inputs"].items()}
        preimage = identity(node.stage, node.version, record["config"], inputs)
        assert preimage == record["identity"] and fingerprint(preimage) == node.fingerprint
        assert all(artifact.sha256(folder / o["path"]) == o["sha256"] for o in record["outputs"])
        assert record["seconds"] >= 0 and record["attempts"] == 1 and record["git"] is not None


def test_a_longer_training_continues_the_shorter_one(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store")
    carry_out(found, store)
    long = next(node for node in found.nodes.values() if node.label == "Long" and node.stage == "toy_train")
    record = store.record(long.stage, long.fingerprint)
    assert record is not None
    assert record["summary"] == {"value": 24.0, "continued": True}
    assert record["continued_from"]["value"] == 2


def test_without_the_state_it_starts_from_the_beginning_and_ends_the_same(tmp_path: Path) -> None:
    _, short, store = study(tmp_path / "store", {"Short": [{"toy_train": {"epochs": 2}}]})
    carry_out(short, store)
    for state in (tmp_path / "store").glob("toy_train/*/state/*"):
        state.unlink()
    for state in (tmp_path / "store").glob("toy_train/*/state"):
        state.rmdir()
    _, found, store = study(tmp_path / "store")
    carry_out(found, store)
    assert {"value": 24.0, "continued": False} in summaries(tmp_path / "store").values()


def test_one_record_deleted_and_exactly_that_node_runs_again(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store")
    carry_out(found, store)
    before = summaries(tmp_path / "store")
    victim = next(iter((tmp_path / "store").glob("toy_train/Short-*")))
    (victim / "record.json").unlink()
    store.refresh()
    (damaged,) = [entry for entry in plan.make(found, store) if entry.state == "run"]
    assert damaged.reason == "its record is missing or damaged"
    again = carry_out(found, store)
    assert [node.label for node in again.executed] == ["Short"]
    assert summaries(tmp_path / "store") == before


def test_a_failure_blocks_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    variants = {
        "Bad": [{"toy_train": {"epochs": 4, "limit": 1.0}}, {"toy_probe": {"digit": 0}}],
        "Good": [{"toy_train": {"epochs": 2}}, {"toy_probe": {"digit": 0}}],
    }
    _, found, store = study(tmp_path / "store", variants)
    outcome = carry_out(found, store)
    ((node, messages, _),) = outcome.failed.values()
    assert (node.label, messages) == ("Bad", ["toy_train.limit=1.0: reached 24.0"])
    assert [node.label for node in outcome.blocked] == ["Bad"]
    assert [node.label for node in outcome.executed] == ["base", "Good", "Good"]
    failed = next(entry for entry in plan.make(found, store) if entry.node is node)
    assert failed.reason == "failed before: toy_train.limit=1.0: reached 24.0"


def test_nodes_that_share_a_checkpoint_run_in_one_job(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store")
    carry_out(found, store, "local")
    probes = [store.record(n.stage, n.fingerprint) for n in found.nodes.values() if n.stage == "toy_probe"]
    assert [probe and probe["summary"] for probe in probes] == [{"loads": 1}, {"loads": 1}]


def test_two_independent_nodes_run_side_by_side(tmp_path: Path) -> None:
    variants = {name: [{"toy_train": {"epochs": 2, "rate": rate}}] for name, rate in (("A", 2.0), ("B", 3.0))}
    _, found, store = study(tmp_path / "store", variants, seconds=0.3)
    most = 0

    def watch(run: Run) -> None:
        nonlocal most
        most = max(most, len(run.running))

    carry_out(found, store, "local", watch)
    assert most == 2


def test_status_sees_a_running_node_and_changes_nothing(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store", seconds=0.2)
    states: set[str] = set()

    def watch(run: Run) -> None:
        states.update(entry.state for entry in plan.make(found, store))

    carry_out(found, store, "local", watch)
    assert states >= {"run", "running", "done"}


HEAD = """
from pathlib import Path
import sys
from tests.conftest import carry_out, study
_, found, store = study(Path(sys.argv[1]), seconds=0.05)
outcome = carry_out(found, store, "local")
sys.exit(bool(outcome.failed))
"""


def head(store: Path) -> subprocess.Popen[bytes]:
    """A head of its own, with workers of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TOYS), str(ROOT)])}
    return subprocess.Popen([sys.executable, "-c", HEAD, str(store)], env=environment, start_new_session=True)


def workers(store: Path) -> list[int]:
    """The processes that work for a store."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes()
        except OSError:
            continue
        if b"launch.worker" in command and str(store).encode() in command:
            found.append(int(entry.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["head", "worker"])
def test_killed_at_any_moment_the_same_command_finishes_the_study(tmp_path: Path, victim: str) -> None:
    dice = random.Random(0)
    for round in range(10):
        store = tmp_path / f"store{round}"
        store.mkdir()
        running = head(store)
        published: dict[Path, float] = {}
        time.sleep(dice.uniform(0.3, 2.0))
        if victim == "head":
            running.send_signal(signal.SIGKILL)
        for worker in workers(store) if victim == "worker" else []:
            os.kill(worker, signal.SIGKILL)
        running.wait()
        deadline = time.time() + 10
        while workers(store):
            assert time.time() < deadline, "workers outlive their head"
            time.sleep(0.02)
        for record in store.glob("[!.]*/[!.]*/record.json"):
            assert artifact.read(record.parent) is not None
            published[record] = record.stat().st_mtime
        assert head(store).wait() == 0
        assert sorted(map(str, summaries(store).values())) == sorted(
            ["{'value': 1.5}", *["{'loads': 1}"] * 2, *map(str, values(store))]
        )
        assert all(record.stat().st_mtime == before for record, before in published.items())
        assert not list(store.glob("*/.[0-9a-f]*")), "unfinished folders are tidied up"


def values(store: Path) -> list[object]:
    """The two trainings' summaries: the values are what an undisturbed run gives."""
    trained = [summary for summary in summaries(store).values() if "continued" in summary]  # type: ignore[operator]
    assert sorted(summary["value"] for summary in trained) == [6.0, 24.0]  # type: ignore[index]
    return trained


def test_two_heads_at_once_run_each_node_once(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    heads = [head(store), head(store)]
    assert [running.wait() for running in heads] == [0, 0]
    attempts = [json.loads(file.read_text())["attempts"] for file in store.glob("[!.]*/[!.]*/record.json")]
    assert attempts == [1] * 5
