"""How long it takes until the plan says that a job is lost: with slurmdbd, without it, and where Slurm forgets at once.

The seconds are a promise, not a measure of speed: `BOUND` is what a person may wait before `status` tells the truth.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launch import queue
from orchestrator import plan
from orchestrator.submit import Submitter
from tests.slurm import head
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import become_client, running

pytestmark = pytest.mark.slow

#: Seconds from the end of a job to a plan that says so; for a lost node, from when slurmctld marks it.
BOUND = 15.0
MODES: dict[str, dict[str, Any]] = {
    "slurmdbd": {},
    "no-accounting": {"accounting": False},
    "purged": {"accounting": False, "min_job_age": 2},
}
#: Takes more memory than a job of `head.CLUSTER` asks for, and holds it.
EATS = "python3 -c 'import time; eaten = bytearray(500_000_000); time.sleep(600)'"


@pytest.fixture(scope="module", params=MODES, ids=str)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with running(**MODES[request.param]) as cluster:
        yield cluster


class Victim:
    """A node whose job runs, and would for minutes."""

    def __init__(self, store: Path, cluster: Cluster, chain: list[Any]) -> None:
        self.cluster = cluster
        store.mkdir()
        self._study = head.study(store, {"V": chain}, cluster={}, seconds=300)
        Submitter(self._study.graph, self._study.store, self._study.experiment.cluster, print).submit(self._entries())
        cluster.wait_until(lambda: self.entry.state == "running")

    def _entries(self) -> list[plan.Entry]:
        self._study.store.refresh()
        return plan.make(self._study.graph, self._study.store)

    @property
    def entry(self) -> plan.Entry:
        """The line of the plan for it, as of now."""
        return self._entries()[-1]

    @property
    def job(self) -> str:
        return str(self.entry.standing.job)

    @property
    def machine(self) -> str:
        (found,) = (entry.node for entry in queue.read([self.cluster.user]).entries if entry.id == self.job)
        return found

    def seconds_until(self, *states: str) -> float:
        """How long it takes from now until the plan has the node in one of these states."""
        start = time.monotonic()
        self.cluster.wait_until(lambda: self.entry.state in states)
        seconds = time.monotonic() - start
        print(f"noticed after {seconds:.1f} s: {self.entry.state}, {self.entry.reason}")
        return seconds


@pytest.fixture
def make_victim(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None
) -> Iterator[Callable[..., Victim]]:
    become_client(cluster, monkeypatch)
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))
    yield lambda *chain: Victim(tmp_path / "store", cluster, [*chain])
    cluster.settle()


@pytest.fixture
def victim(make_victim: Callable[..., Victim], cluster: Cluster, tmp_path: Path) -> Victim:
    """A training that has begun."""
    found = make_victim({"toy_train": {"epochs": 1}})
    cluster.wait_until(lambda: "start toy_train" in (tmp_path / "journal").read_text())
    return found


def test_a_killed_worker(victim: Victim, tmp_path: Path) -> None:
    begun = (tmp_path / "journal").read_text().splitlines()[-1]
    os.kill(int(begun.split()[1].partition(".")[0]), signal.SIGKILL)
    assert victim.seconds_until("failed") < BOUND


def test_scancel(victim: Victim) -> None:
    victim.cluster.run("scancel", victim.job)
    assert victim.seconds_until("failed") < BOUND


def test_a_job_that_slurm_has_forgotten(victim: Victim) -> None:
    """The worst case: the queue lacks it at once, so that its claim has to grow cold."""
    machine, slurm = victim.machine, victim.cluster
    slurm.stop_controller(signal.SIGKILL)
    for file in (slurm.folder / "state").glob("job_state*"):
        file.unlink()
    slurm.kill_node(machine)
    killed = time.monotonic()
    slurm.start_controller()
    victim.seconds_until("failed")
    assert time.monotonic() - killed < BOUND


def test_too_much_memory(make_victim: Callable[..., Victim], cluster: Cluster) -> None:
    victim = make_victim({"toy_shell": {"command": EATS}})
    job = victim.job
    cluster.wait_until(lambda: cluster.state(job) not in ("RUNNING", "COMPLETING"))
    assert victim.seconds_until("failed") < BOUND


def test_a_lost_machine(victim: Victim) -> None:
    machine = victim.machine
    victim.cluster.kill_node(machine)
    victim.cluster.wait_until(lambda: victim.cluster.node_state(machine).startswith("down"))
    assert victim.seconds_until("queued", "failed") < BOUND
    assert victim.entry.state == "queued" or victim.seconds_until("running") < BOUND
