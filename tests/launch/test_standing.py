"""The table of `launch.standing`, row by row."""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch import claim as claims
from launch import clock, standing
from launch.claim import LEASE, Claim
from launch.queue import ENDED, WAITING, Absent, Entry, Queue, Unanswered
from stages.store import LOCK

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

    def stand(
        claim: Claim | None, seen: Queue | Unanswered = EMPTY, age: float = FRESH, locked: bool | None = False
    ) -> Any:
        if claim is not None:
            claim = claims.take(tmp_path, claim, over=None)
            assert claim is not None
            os.utime(tmp_path / "claim-1.json", (0, time.time() - age))
        return standing.of(tmp_path, claim, seen, locked=locked)

    stand.folder = tmp_path  # type: ignore[attr-defined]
    return stand


def test_none_or_released(stand: Any) -> None:
    assert stand(None) == standing.FREE
    assert stand(slurm(released=True, job="12"), shows("RUNNING")) == standing.FREE


def test_a_lock_without_a_claim_is_a_worker_that_is_about_to_take_one(stand: Any) -> None:
    assert stand(None, locked=True).state == "running"


#: A process that is not there.
NOBODY = 2**22 + 1


@pytest.mark.parametrize(
    ("host", "pid", "age", "locked", "state"),
    [
        (socket.gethostname(), NOBODY, COLD, True, "running"),
        (socket.gethostname(), NOBODY, FRESH, False, "free"),
        (socket.gethostname(), os.getpid(), FRESH, False, "running"),
        (socket.gethostname(), os.getpid(), COLD, False, "free"),
        ("elsewhere", NOBODY, FRESH, False, "running"),
        ("elsewhere", NOBODY, COLD, False, "free"),
    ],
    ids=["locked", "process gone", "process lives", "silent", "elsewhere", "silent elsewhere"],
)
def test_local(host: str, pid: int, age: float, locked: bool, state: str, stand: Any) -> None:
    """On its own machine the lock and the process tell at once; elsewhere its touches do."""
    assert stand(local(host=host, pid=pid), age=age, locked=locked).state == state


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
    assert (found.state, found.job, found.deaf, found.out_of_sight) == ("running", job, True, False)
    assert found.whom.endswith("Slurm does not answer: squeue: no route")


@pytest.mark.parametrize(("age", "out"), [(FRESH, False), (COLD, True)])
def test_there_is_no_slurm_here(age: float, out: bool, stand: Any) -> None:
    """As in a store that was moved away from its cluster: nobody waits here for what will never be known."""
    found = stand(slurm(job="12", host="login1"), Absent("squeue is not on the PATH"), age)
    assert (found.state, found.out_of_sight) == ("running", out)
    said = "job 12 has it, but Slurm does not answer: squeue is not on the PATH"
    more = "; nobody has touched it for 13 s; it was taken on login1; if it is not to run any more, `cancel` with its "
    assert found.reason == said + (f"{more}name frees it" if out else "")


@pytest.mark.parametrize(
    ("theirs", "ours", "age", "state", "out"),
    [
        ("alpha", "alpha", COLD, "free", False),
        ("alpha", "beta", COLD, "running", True),
        ("alpha", None, COLD, "running", False),
        ("alpha", "beta", FRESH, "running", False),
        (None, "beta", COLD, "free", False),
    ],
)
def test_a_job_of_another_cluster(
    theirs: str | None, ours: str | None, age: float, state: str, out: bool, stand: Any
) -> None:
    """Its own queue has it, perhaps; this one lacks it in any case."""
    seen = Queue([])
    seen.__dict__["cluster"] = ours
    found = stand(slurm(job="12", cluster=theirs), seen, age)
    assert (found.state, found.out_of_sight) == (state, out)


@pytest.mark.parametrize("claim", [slurm(job="12"), slurm(), local(host="elsewhere")])
def test_a_touch_that_is_yet_to_come_is_watched(claim: Claim, stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither fresh nor stale, it counts for as long as nobody has seen it untouched for a lease, by one clock."""
    found = stand(claim, age=-3600.0)
    assert found.state != "free" and found.unsure and "12 s of watching it will tell" in found.reason
    real, folder = time.monotonic, stand.folder
    taken = claims.read(folder)
    later(monkeypatch, real, LEASE - 1)
    assert standing.of(folder, taken, EMPTY, locked=False).state != "free"
    os.utime(folder / "claim-1.json", (0, time.time() + 3700))  # it lives
    later(monkeypatch, real, LEASE + 1)
    assert standing.of(folder, taken, EMPTY, locked=False).state != "free"
    later(monkeypatch, real, 2 * LEASE + 2)
    assert standing.of(folder, taken, EMPTY, locked=False).state == "free"


def later(monkeypatch: pytest.MonkeyPatch, real: Callable[[], float], seconds: float) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: real() + seconds)


@pytest.mark.parametrize("skew", [-3600.0, -20.0, 20.0, 3600.0])
@pytest.mark.parametrize(("age", "state"), [(FRESH, "running"), (COLD, "free")])
def test_the_clock_of_this_host_is_no_matter(
    skew: float, age: float, state: str, stand: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + skew)
    assert stand(local(host="elsewhere"), age=age + skew).state == state


def test_a_store_that_cannot_be_written_has_no_clock(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda folder: None)
    found = stand(local(host="elsewhere"), age=COLD)
    assert (found.state, found.unsure) == ("running", True)


@pytest.mark.parametrize(
    ("claim", "age", "state"),
    [
        (local(pid=os.getpid()), FRESH, "running"),
        (local(pid=os.getpid()), COLD, "free"),
        (local(pid=NOBODY), FRESH, "free"),
        (local(pid=os.getpid(), boot="another machine of this name"), FRESH, "running"),
        (local(pid=NOBODY, boot="another machine of this name"), FRESH, "running"),
    ],
)
def test_without_locks_the_process_and_its_touches_tell(claim: Claim, age: float, state: str, stand: Any) -> None:
    assert stand(claim, age=age, locked=None).state == state


def test_a_machine_of_the_same_name_is_another(stand: Any) -> None:
    """Its worker does not hold our lock."""
    assert stand(local(boot="another"), age=FRESH, locked=False).state == "running"


def test_a_job_that_runs_and_waits_for_a_lock_says_for_whose(stand: Any, tmp_path: Path) -> None:
    other = local(user="bob", host="n7", pid=4)
    (tmp_path / LOCK).write_text(f"\n{other.holder}\n")
    found = stand(slurm(job="12"), shows("RUNNING"), locked=True)
    assert found.reason == "job 12 runs on n1 and waits for process 4 of bob on n7"


def test_nobody_asks_slurm_for_what_is_not_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert isinstance(standing.look([local(), replace(slurm(), released=True)]), Queue)
    assert isinstance(standing.look([slurm()]), Unanswered)
