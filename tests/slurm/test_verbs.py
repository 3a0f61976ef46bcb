"""The verbs on the real cluster: what they see of jobs, and what they do to them."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from launch import claim as claims
from launch import order
from launch.claim import Claim
from launch.job import Allocation
from launch.job import Cluster as Where
from orchestrator import __main__ as command_line
from orchestrator import gc, runs
from orchestrator.command import Command, Site
from stages.store import Store
from tests.slurm import head
from tests.slurm.cluster import Cluster, users
from tests.slurm.toy import TRAIN, Toy

pytestmark = pytest.mark.usefixtures("toys")

SHELL: dict[str, list[Any]] = {
    "A": [
        {"toy_shell": {"command": "echo begun >&2; while [ ! -e go ]; do sleep 0.1; done; echo 12"}},
        {"toy_train": {"epochs": 2}},
    ],
    "B": [{"toy_train": {"epochs": 1}}],
}
TWO_PROBES: dict[str, list[Any]] = {
    "A": [{"toy_train": {"epochs": 1, "seconds": 60.0}}, {"toy_probe": {"digit": 0}}],
    "B": [{"toy_train": {"epochs": 1, "seconds": 60.0}}, {"toy_probe": {"digit": 1}}],
}


@pytest.fixture
def toy(slurm: Cluster, tmp_path: Path) -> Toy:
    """A shell command that waits for the file `go` in its work folder, a training after it, and another beside it."""
    return Toy(slurm, tmp_path / "store", SHELL)


def act(toy: Toy, verb: str, node: str | None = None, *flags: str) -> int:
    toy.study.store.refresh()
    return command_line.VERBS[verb].act(toy.study, Command(verb, node, frozenset(flags), []))


def begin(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    """Submit everything, and wait until the shell command runs and the rest is done or waits for it."""
    assert toy.run() == 0
    toy.wait_until(lambda: "begun" in toy.log("toy_shell"))
    toy.wait_until(lambda: sorted(each.state for each in toy.plan()) == ["done", "done", "queued", "running"])
    capsys.readouterr()


def let_go(toy: Toy) -> None:
    (toy.folder("toy_shell") / "work" / "go").touch()


def states(toy: Toy) -> dict[str, str]:
    return {f"{each.node.stage}/{each.node.label}": each.state for each in toy.plan()}


def test_watching_a_job_that_somebody_cancels(slurm: Cluster, toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    begin(toy, capsys)
    codes: list[int] = []
    watching = threading.Thread(target=lambda: codes.append(act(toy, "status", None, "--watch")))
    watching.start()
    job = toy.job("toy_shell")
    slurm.run("scancel", job)
    started = time.monotonic()
    watching.join()
    assert time.monotonic() - started < 15
    assert codes == [1]
    lines = capsys.readouterr().out.splitlines()
    assert any(f"toy_shell/A running -> failed: job {job} ended as CANCELLED" in line for line in lines), lines


def test_the_log_of_a_job_as_it_grows(toy: Toy, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    begin(toy, capfdbinary)  # type: ignore[arg-type]
    threading.Timer(1.0, lambda: let_go(toy)).start()
    assert act(toy, "logs", "toy_shell", "-f") == 0
    assert capfdbinary.readouterr().out.startswith(b"begun\n")
    assert states(toy)["toy_shell/A"] == "done"
    assert act(toy, "logs", "toy_shell") == 0
    assert b"begun" in capfdbinary.readouterr().out


def test_what_slurm_says_of_a_job_belongs_to_its_log(toy: Toy, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    begin(toy, capfdbinary)  # type: ignore[arg-type]
    assert act(toy, "cancel", "toy_shell") == 0
    capfdbinary.readouterr()
    assert act(toy, "logs", "toy_shell") == 0
    shown = capfdbinary.readouterr().out
    assert shown.startswith(b"begun\n") and b"CANCELLED" in shown


def test_cancelling_and_trying_again(slurm: Cluster, toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    begin(toy, capsys)
    shell = toy.job("toy_shell")
    assert act(toy, "cancel", "toy_shell", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["jobs"][shell] == ["toy_shell/A"] and answer["over"]
    assert sorted(nodes for (nodes,) in answer["jobs"].values()) == ["toy_shell/A", "toy_train/A"]
    assert {slurm.state(job) for job in answer["jobs"]} == {"CANCELLED"}
    assert act(toy, "cancel", None, "--all") == 0
    assert capsys.readouterr().out == "nothing of it is in flight\n"
    assert act(toy, "retry", None, "--json") == 0
    toy.wait_for("toy_shell", "running")
    let_go(toy)
    toy.wait_until(lambda: set(states(toy).values()) == {"done"})


def test_a_job_ends_for_all_of_its_nodes(slurm: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = Toy(slurm, tmp_path / "store", TWO_PROBES)
    toy.run()
    capsys.readouterr()
    assert act(toy, "cancel", "toy_probe/A") == 0
    assert "toy_probe/A, toy_probe/B (one job, which ends for all 2 of them)" in capsys.readouterr().out
    assert states(toy)["toy_train/A"] in ("running", "queued")


@pytest.mark.skipif(not users(), reason="only root makes users")
def test_a_job_of_somebody_else_is_named_and_left(
    slurm: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = Toy(slurm, tmp_path / "store", TRAIN)
    node = toy.entry("toy_base").node
    folder = toy.study.store.job(node.stage, node.fingerprint)
    folder.mkdir(parents=True)
    token = claims.new_token()
    job = slurm.submit(f"--job-name=x~{token}", wrap="sleep 600", user="alice")
    claims.take(folder, Claim(token=token, launcher="slurm", user="alice", job=job), None)
    slurm.wait_for(job, "RUNNING")
    assert act(toy, "cancel", None, "--all") == 1
    assert f"left toy_base/base: it is alice's: job {job} of alice runs on n1" in capsys.readouterr().out
    assert slurm.state(job) == "RUNNING"


def test_gc_leaves_what_a_job_is_at(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    begin(toy, capsys)
    store = toy.study.store
    for file in runs.files(store):
        file.unlink()
    unrelated = head.study(toy.store, {"C": [{"toy_train": {"epochs": 7}}]}, cluster={})
    runs.record("other", [], unrelated.graph, store)
    kinds = [(each.kind, each.path.name.partition("-")[0]) for each in gc.collect(Store(toy.store))]
    assert kinds == []  # B may be continued by C, and the base is C's as well
    act(toy, "cancel", None, "--all")
    left = {each.path.parent.name for each in gc.collect(Store(toy.store))}
    assert left == {"toy_shell", "toy_train"}


def test_the_doctor_asks_a_job(slurm: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = Where(launcher="slurm", default=Allocation(time=30), stages={})
    site = Site(where, Store(tmp_path / "store"))
    site.store.root.mkdir()
    command = Command("doctor", None, frozenset({"--json", "--probe"}), [])
    assert command_line.VERBS["doctor"].act(site, command) == 0
    found = {each["what"].partition(",")[0]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert found["probe"]["value"] == "ran on n1"
    assert found["packages there"]["value"] == "the same as here"
    assert "sacct answers" in found["accounting"]["value"]
    assert found["preemption"]["value"] == "REQUEUE, preempt/partition_prio"
    assert order.folders(tmp_path / "store") == []


def test_the_doctor_finds_a_class_that_has_no_place(
    slurm: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = {
        "big": Allocation(gpus=9),
        "far": Allocation(partition="nowhere"),
        "barred": Allocation(account="nobody"),
    }
    where = Where(launcher="slurm", default=Allocation(), classes=classes, stages={"toy_train": classes["big"]})
    command = Command("doctor", None, frozenset({"--json"}), [])
    assert command_line.VERBS["doctor"].act(Site(where, Store(tmp_path)), command) == 1
    found = {each["what"]: each for each in json.loads(capsys.readouterr().out)["findings"]}
    assert found["class big"]["fatal"] and "has 9 GPUs, the largest has 8" in found["class big"]["means"]
    assert not found["class far"]["fatal"] and "there is no partition nowhere" in found["class far"]["means"]
    assert "Slurm would refuse it" in found["class barred"]["means"]
    assert not found["class default"]["means"]
