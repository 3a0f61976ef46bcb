"""Standing: what a claim is worth now. The one table that says when a node is free again.

    claim      its job in the queue      last touch      standing
    ---------  ------------------------  --------------  -----------------------------------------------
    none, or released                                    free
    local      -                         within LEASE    running
    local      -                         earlier         free (its worker is gone)
    slurm      waits                     any             queued
    slurm      waits for one that failed any             free (Slurm is about to cancel it)
    slurm      held, as it did not start earlier         free (Slurm does not try again)
    slurm      runs                      any             running
    slurm      over                      any             free (how it ended)
    slurm      not there, id unknown     within LEASE    queued (its head is submitting it)
    slurm      not there, id known       within LEASE    running (it has only just gone, or only just come)
    slurm      not there                 earlier         free (it is gone)
    slurm      hidden from us            earlier         running, as far as we can know
    slurm      Slurm does not answer     any             running, as far as we can know

What is not known is never taken for over: only a queue that was read, and lacks the job, frees a node.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launch import claim as claims
from launch import queue
from launch.claim import LEASE, Claim
from launch.queue import Queue, Unanswered


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What became of a claim.

    Attributes:
        state: `free`, `queued` or `running`.
        reason: for a person; empty for a node that was never claimed.
        job: the Slurm job to depend on, if it is known; it ends when the last of the claim's jobs has.
        ended: how Slurm says that the job ended (`OUT_OF_MEMORY`), None if it does not say.
        hangs: it waits for other jobs, and cannot start before they have succeeded.
        stuck: one of them does not go on by itself, even if the node that it is for is done meanwhile.
    """

    state: Literal["free", "queued", "running"]
    reason: str = ""
    job: str | None = None
    ended: str | None = None
    hangs: bool = False
    stuck: bool = False


FREE = Standing(state="free")


def look(held: Iterable[Claim]) -> Queue | Unanswered:
    """The queue as far as these claims need it: no call at all if none of them is of Slurm."""
    users = {claim.user for claim in held if claim.launcher == "slurm" and not claim.released}
    if not users:
        return Queue([])
    try:
        return queue.read(users)
    except Unanswered as error:
        return error


def of(folder: Path, claim: Claim | None, seen: Queue | Unanswered, *, locked: bool) -> Standing:
    """The standing of a node's claim. `locked`: whether a worker of this machine holds the node's lock."""
    if claim is None or claim.released:
        return Standing(state="running", reason="a worker has it") if locked else FREE
    return _local(folder, claim, locked) if claim.launcher == "local" else _slurm(folder, claim, seen)


def _local(folder: Path, claim: Claim, locked: bool) -> Standing:
    here = claim.host == socket.gethostname()
    # The lock tells at once, but only on the machine where the worker is.
    if locked or (not here and claims.age(folder, claim) < LEASE):
        return Standing(state="running", reason=f"a worker of {claim.user} on {claim.host} has it")
    return FREE


def _slurm(folder: Path, claim: Claim, seen: Queue | Unanswered) -> Standing:
    whose = "" if claim.user == getpass.getuser() else f" of {claim.user}"
    name = f"job {claim.job}{whose}" if claim.job else f"a job{whose}"
    if isinstance(seen, Unanswered):
        return Standing(state="running", reason=f"{name} has it, but Slurm does not answer: {seen}", job=claim.job)
    job = seen.find(claim)
    if job is None:
        return _absent(folder, claim, seen, name)
    name = f"job {job.id}{whose}"
    if job.ended:
        return Standing(state="free", reason=f"{name} ended as {job.state}{_because(job)}", ended=job.state)
    # A controller that lost its memory starts, and then holds, what runs already: its worker still touches the claim.
    if job.in_vain or (job.held and claims.age(folder, claim) >= LEASE):
        return Standing(state="free", reason=f"{name} waits in vain{_because(job)}", ended="CANCELLED")
    if job.waiting:
        reason, hangs = f"{name} waits{_because(job)}", bool(job.after)
        return Standing(state="queued", reason=reason, job=seen.last(claim), hangs=hangs, stuck=seen.stuck(job))
    return Standing(state="running", reason=f"{name} runs on {job.node}", job=seen.last(claim))


def _absent(folder: Path, claim: Claim, seen: Queue, name: str) -> Standing:
    """The standing of a claim whose job Slurm does not show."""
    if claims.age(folder, claim) < LEASE:
        if claim.job is None:
            return Standing(state="queued", reason=f"{claim.user} on {claim.host} is submitting it")
        return Standing(state="running", reason=f"{name} has it", job=claim.job)
    if claim.user != getpass.getuser() and _hides(seen):
        reason = f"{name} has it, as far as can be known: this site hides the jobs of others"
        return Standing(state="running", reason=reason, job=claim.job)
    return Standing(state="free", reason=f"{name} is gone: killed, or lost with its machine")


def _hides(seen: Queue) -> bool:
    try:
        return seen.hides
    except Unanswered:  # then it may
        return True


def _because(job: queue.Entry) -> str:
    return f" ({job.reason})" if job.reason not in ("None", "") else ""
