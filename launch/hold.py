"""Holding a node while it is worked on: the lock of this machine, and the claim that counts on all of them.

Whoever waits for a node holds nothing that its holder could wait for: no lock, and no claim of the same node.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from launch import claim as claims
from launch import lock as locks
from launch import standing
from launch.claim import Claim
from launch.lock import Lock
from launch.node import NodeSpec
from stages.store import Store

#: Seconds between two looks at a node that somebody else has.
RECHECK = 1.0


class Superseded(Exception):
    """The node is somebody else's by now."""


@contextlib.contextmanager
def held(folder: Path, spec: NodeSpec, token: str | None) -> Iterator[Claim | None]:
    """Hold the node's lock and its claim, and touch that as long as the block lasts; None if it is published.

    `token` is that of the claim that was taken for this worker when it was submitted; None: it takes one itself.

    Raises:
        Superseded: that claim counts no more.
    """
    if token is not None:
        claim = _given(folder, token)
        if claim is None:
            yield None
            return
        with claims.Heart([(folder, claim)]):
            lock = _locked(folder, claim, token)
            try:
                yield None if lock is None else claim
            finally:
                _unlock(lock)
        return
    claim, lock = _claimed(folder, spec)
    if claim is None:
        yield None
        return
    try:
        with claims.Heart([(folder, claim)]):
            yield claim
    finally:
        with contextlib.suppress(OSError):  # a full disk; a claim of a worker that is gone dies by itself
            claims.release(folder, claim)
        _unlock(lock)


def _given(folder: Path, token: str) -> Claim | None:
    """The claim that was taken when this worker was submitted; None if the node is published."""
    claim = claims.read(folder)
    if claim is None and not folder.is_dir():
        return None
    if claim is None or claim.token != token or claim.released:
        raise Superseded("this job does not have the node any more: somebody else has taken it over, or gave it up")
    if claim.job is None:  # the head died before it could write this down
        claim = replace(claim, job=job_id())
        claims.update(folder, claim)
    return claim


def _locked(folder: Path, claim: Claim, token: str) -> Lock | None:
    """The lock, for a worker that has the claim; None if the node was published while we waited."""
    told = ""
    while folder.is_dir():
        try:
            lock = locks.take(folder, claim)
        except FileNotFoundError:  # published just now
            break
        if lock is not None:
            return lock
        told = _tell(folder, f"{locks.holder(folder) or 'another worker'} has its lock", told)
        time.sleep(RECHECK)
        _given(folder, token)
    return None


def _claimed(folder: Path, spec: NodeSpec) -> tuple[Claim | None, Lock | None]:
    """A claim of this worker's own, and the lock; neither if the node is published by whoever had it."""
    mine = Claim(token=claims.new_token(), launcher="local", pid=os.getpid())
    told = ""
    while folder.is_dir() and Store(Path(spec.store)).find(spec.stage, spec.fingerprint) is None:
        theirs = claims.read(folder)
        locked = Store(Path(spec.store)).running(spec.stage, spec.fingerprint)
        seen = standing.look([theirs] if theirs is not None else [])
        stands = standing.of(folder, theirs, seen, locked=locked)
        reason = stands.reason
        if stands.state == "free":
            with contextlib.suppress(FileNotFoundError):  # published just now
                lock = locks.take(folder, mine)
                taken = None
                try:
                    taken = None if lock is None else claims.take(folder, mine, theirs)
                finally:
                    if taken is None:
                        _unlock(lock)
                if taken is not None:
                    return taken, lock
            reason = "another worker has it"
        told = _tell(folder, reason, told)
        time.sleep(RECHECK)
    return None, None


def _tell(folder: Path, reason: str, told: str) -> str:
    """Say for whom this waits, unless that is what was said last."""
    if reason != told:
        print(f"{folder}: {reason}; waiting for it", flush=True)
    return reason


def _unlock(lock: Lock | None) -> None:
    if lock is not None:
        lock.release()


def job_id() -> str | None:
    """The Slurm job that this process is in, `12`, or `12_3` for an element of an array; None outside of Slurm."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID")
