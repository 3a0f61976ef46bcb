"""The table of `launch.standing`, row by row."""

from __future__ import annotations

import getpass
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch import claim as claims
from launch import standing
from launch.claim import LEASE, Claim
from launch.queue import ENDED, WAITING, Entry, Queue, Unanswered

TOKEN = "a" * 12
FRESH, COLD = 1.0, LEASE + 1
EMPTY = Queue([])


def slurm(**more: Any) -> Claim:
    return Claim(**{"token": TOKEN, "launcher": "slurm", **more})


def local(**more: Any) -> Claim:
    return Claim(**{"token": TOKEN, "launcher": "local", "pid": 1, **more})


def shows(state: str, reason: str = "None", user: str | None = None) -> Queue:
    entry = Entry(id="12", state=state, reason=reason, user=user or getpass.getuser(), node="n1", token=TOKEN)
    return Queue([entry])


def hiding(answer: bool) -> Queue:
    seen = Queue([])
    seen.__dict__["hides"] = answer
    return seen


@pytest.fixture
def stand(tmp_path: Path) -> Any:
    """The standing of a claim that was last touched `age` seconds ago."""

    def stand(claim: Claim | None, seen: Queue | Unanswered = EMPTY, age: float = FRESH, locked: bool = False) -> Any:
        if claim is not None:
            claim = claims.take(tmp_path, claim, over=None)
            assert claim is not None
            os.utime(tmp_path / "claim-1.json", (0, time.time() - age))
        return standing.of(tmp_path, claim, seen, locked=locked)

    return stand


def test_none_or_released(stand: Any) -> None:
    assert stand(None) == standing.FREE
    assert stand(slurm(released=True, job="12"), shows("RUNNING")) == standing.FREE


def test_a_lock_without_a_claim_is_a_worker_that_is_about_to_take_one(stand: Any) -> None:
    assert stand(None, locked=True).state == "running"


@pytest.mark.parametrize(
    ("host", "age", "locked", "state"),
    [
        (socket.gethostname(), COLD, True, "running"),
        (socket.gethostname(), FRESH, False, "free"),
        ("elsewhere", FRESH, False, "running"),
        ("elsewhere", COLD, False, "free"),
    ],
)
def test_local(host: str, age: float, locked: bool, state: str, stand: Any) -> None:
    """On its own machine the lock tells at once; elsewhere its touches do."""
    assert stand(local(host=host), age=age, locked=locked).state == state


@pytest.mark.parametrize("age", [FRESH, COLD])
@pytest.mark.parametrize("job", [None, "12"])
@pytest.mark.parametrize("state", sorted(WAITING))
def test_slurm_waits(state: str, job: str | None, age: float, stand: Any) -> None:
    found = stand(slurm(job=job), shows(state, "Priority"), age)
    assert (found.state, found.job, found.reason) == ("queued", "12", "job 12 waits (Priority)")


@pytest.mark.parametrize(("after", "hangs"), [("afterok:7(unfulfilled)", True), ("", False)])
def test_slurm_waits_for_other_jobs(after: str, hangs: bool, stand: Any) -> None:
    """The reason need not say so."""
    seen = Queue([replace(entry, after=after) for entry in shows("PENDING", "PartitionDown").entries])
    found = stand(slurm(job="12"), seen)
    assert (found.state, found.hangs) == ("queued", hangs)


def test_slurm_waits_for_one_that_failed(stand: Any) -> None:
    found = stand(slurm(job="12"), shows("PENDING", "DependencyNeverSatisfied"))
    assert (found.state, found.job, found.ended) == ("free", None, "CANCELLED")
    assert found.reason == "job 12 waits in vain (DependencyNeverSatisfied)"


@pytest.mark.parametrize(("age", "state"), [(FRESH, "queued"), (COLD, "free")])
def test_slurm_holds_it(age: float, state: str, stand: Any) -> None:
    """A claim that is touched has a worker, whatever Slurm thinks."""
    assert stand(slurm(job="12"), shows("PENDING", "launch failed requeued held"), age).state == state


@pytest.mark.parametrize("age", [FRESH, COLD])
@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "SUSPENDED"])
def test_slurm_runs(state: str, age: float, stand: Any) -> None:
    found = stand(slurm(), shows(state), age)
    assert (found.state, found.job, found.reason) == ("running", "12", "job 12 runs on n1")


@pytest.mark.parametrize("age", [FRESH, COLD])
@pytest.mark.parametrize("state", sorted(ENDED))
def test_slurm_over(state: str, age: float, stand: Any) -> None:
    found = stand(slurm(job="12"), shows(state, "NodeDown"), age)
    assert (found.state, found.ended, found.reason) == ("free", state, f"job 12 ended as {state} (NodeDown)")


def test_slurm_not_there_id_unknown(stand: Any) -> None:
    assert stand(slurm()).state == "queued"


def test_slurm_not_there_id_known(stand: Any) -> None:
    found = stand(slurm(job="12"))
    assert (found.state, found.job) == ("running", "12")


@pytest.mark.parametrize("job", [None, "12"])
def test_slurm_not_there_and_cold(job: str | None, stand: Any) -> None:
    found = stand(slurm(job=job), age=COLD)
    assert found.state == "free"
    assert found.reason.endswith("is gone: killed, or lost with its machine")


@pytest.mark.parametrize(
    ("hidden", "user", "state"), [(True, "bob", "running"), (True, None, "free"), (False, "bob", "free")]
)
def test_slurm_hidden_from_us(hidden: bool, user: str | None, state: str, stand: Any) -> None:
    claim = slurm(job="12") if user is None else slurm(job="12", user=user)
    assert stand(claim, hiding(hidden), COLD).state == state


@pytest.mark.parametrize("age", [FRESH, COLD])
@pytest.mark.parametrize("job", [None, "12"])
def test_slurm_does_not_answer(job: str | None, age: float, stand: Any) -> None:
    found = stand(slurm(job=job), Unanswered("squeue: no route"), age)
    assert (found.state, found.job) == ("running", job)
    assert found.reason.endswith("Slurm does not answer: squeue: no route")


def test_nobody_asks_slurm_for_what_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert isinstance(standing.look([local(), replace(slurm(), released=True)]), Queue)
    assert isinstance(standing.look([slurm()]), Unanswered)
