"""Standing: what a claim is worth now. The one table that says when a node is free again.

    claim      its job in the queue      last touch      standing
    ---------  ------------------------  --------------  -----------------------------------------------
    none, or released                                    free
    local      -, locked                 any             running
    local      -, here, no such process  any             free (its worker is gone)
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
    slurm      of another cluster        earlier         running, as far as we can know; out of sight
    slurm      Slurm does not answer     any             running, as far as we can know
    slurm      there is no Slurm here    earlier         running, as far as we can know; out of sight

The last touch is as old as the file server's clock says. If that is not known, or the touch is yet to come, a claim
counts as touched for as long as this process has not seen it untouched for LEASE seconds.
What is not known is never taken for over: only a queue that was read, and lacks the job, frees a node.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launch import claim as claims
from launch import lock as locks
from launch import queue
from launch.claim import LEASE, Claim
from launch.queue import Absent, Queue, Unanswered

#: What comes before the time for which a claim has been silent.
_SILENT = "; nobody has touched it for "


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
        deaf: Slurm did not answer.
        unsure: whether it lives shows only when its claim has been watched for a while.
        out_of_sight: this machine will never know what became of it; nobody needs to wait here.
    """

    state: Literal["free", "queued", "running"]
    reason: str = ""
    job: str | None = None
    ended: str | None = None
    hangs: bool = False
    stuck: bool = False
    deaf: bool = False
    unsure: bool = False
    out_of_sight: bool = False

    @property
    def doubtful(self) -> bool:
        """Whether it is running as far as can be known, and no further."""
        return self.unsure or self.deaf or self.out_of_sight

    @property
    def whom(self) -> str:
        """The reason without what changes from look to look."""
        return self.reason.partition(_SILENT)[0]


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


def of(folder: Path, claim: Claim | None, seen: Queue | Unanswered, *, locked: bool | None) -> Standing:
    """The standing of a node's claim. `locked`: whether a worker holds the node's lock; None where there are none."""
    if claim is None or claim.released:
        reason = f"{locks.holder(folder) or 'a worker'} has it"
        return Standing(state="running", reason=reason) if locked else FREE
    return _local(folder, claim, locked) if claim.launcher == "local" else _slurm(folder, claim, seen, bool(locked))


def _local(folder: Path, claim: Claim, locked: bool | None) -> Standing:
    # On its own machine its process tells at once; a lock may be one that its file system only pretends to give.
    gone = claim.here and not claim.alive
    if locked or (not gone and claims.age(folder, claim) < LEASE):
        reason = f"a worker of {claim.user} on {claim.host} has it"
        return Standing(state="running", reason=reason + _unsure(folder, claim), unsure=not claims.dated(folder, claim))
    return FREE


def _slurm(folder: Path, claim: Claim, seen: Queue | Unanswered, locked: bool) -> Standing:
    whose = "" if claim.user == getpass.getuser() else f" of {claim.user}"
    name = f"job {claim.job}{whose}" if claim.job else f"a job{whose}"
    if isinstance(seen, Unanswered):
        reason = f"{name} has it, but Slurm does not answer: {seen}"
        if claims.age(folder, claim) >= LEASE:
            return _out_of_sight(folder, claim, reason, never=isinstance(seen, Absent))
        return Standing(state="running", reason=reason, job=claim.job, deaf=True)
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
    reason, other = f"{name} runs on {job.node}", locks.holder(folder, claim) if locked else None
    return Standing(
        state="running", reason=f"{reason} and waits for {other}" if other else reason, job=seen.last(claim)
    )


def _absent(folder: Path, claim: Claim, seen: Queue, name: str) -> Standing:
    """The standing of a claim whose job Slurm does not show."""
    if claims.age(folder, claim) < LEASE:
        more, unsure = _unsure(folder, claim), not claims.dated(folder, claim)
        if claim.job is None:
            reason = f"{claim.user} on {claim.host} is submitting it"
            return Standing(state="queued", reason=reason + more, unsure=unsure)
        return Standing(state="running", reason=f"{name} has it{more}", job=claim.job, unsure=unsure)
    if claim.cluster is not None and _cluster(seen) != claim.cluster:
        here = _cluster(seen)
        what = f"this is {here}" if here else "Slurm does not say which this is"
        reason = f"{name} has it, as far as can be known: it is of the cluster {claim.cluster}, {what}"
        return _out_of_sight(folder, claim, reason, never=here is not None)
    if claim.user != getpass.getuser() and _hides(seen):
        reason = f"{name} has it, as far as can be known: this site hides the jobs of others"
        return Standing(state="running", reason=reason, job=claim.job)
    return Standing(state="free", reason=f"{name} is gone: killed, or lost with its machine")


def _out_of_sight(folder: Path, claim: Claim, reason: str, *, never: bool) -> Standing:
    """The standing of a claim that nobody touches, and of whose job nothing can be known: now, or never here."""
    silent = f"{reason}{_SILENT}{_duration(claims.age(folder, claim))}; it was taken on {claim.host}"
    words = f"{silent}; if it is not to run any more, `cancel` with its name frees it" if never else silent
    return Standing(state="running", reason=words, job=claim.job, deaf=not never, out_of_sight=never)


def _unsure(folder: Path, claim: Claim) -> str:
    """What to add where a claim counts as touched because nothing else is known."""
    if claims.dated(folder, claim):
        return ""
    return f", as far as can be known: the time of its claim is no help; {LEASE:.0f} s of watching it will tell"


def _duration(seconds: float) -> str:
    """`3 d 4 h`, `5 h 12 min`, `7 min`, `20 s`."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days:.0f} d {hours % 24:.0f} h"
    if hours:
        return f"{hours:.0f} h {minutes % 60:.0f} min"
    return f"{minutes:.0f} min" if minutes else f"{seconds:.0f} s"


def _cluster(seen: Queue) -> str | None:
    try:
        return seen.cluster
    except Unanswered:
        return None


def _hides(seen: Queue) -> bool:
    try:
        return seen.hides
    except Unanswered:  # then it may
        return True


def _because(job: queue.Entry) -> str:
    return f" ({job.reason})" if job.reason not in ("None", "") else ""
