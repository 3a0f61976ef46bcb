"""Holding a node while it is worked on: the lock of this machine, and the claim that counts on all of them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from launch import claim as claims
from launch import standing
from launch.claim import Claim
from launch.node import NodeSpec
from stages.store import LOCK, Store

#: Seconds between two looks at a node that somebody else has.
RECHECK = 1.0


class Superseded(Exception):
    """The node is somebody else's by now."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the node against other workers of this machine: a second one waits here and then finds the record.

    Where the file system locks across machines it holds there too; where it does not, the claim still does.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o664)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another worker has this node; waiting for it", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def held(folder: Path, spec: NodeSpec, token: str | None) -> Iterator[None]:
    """Hold the node's claim, and touch it as long as the block lasts.

    `token` is that of the claim that was taken for this worker when it was submitted; None: it takes one itself.

    Raises:
        Superseded: that claim counts no more.
    """
    claim = _claimed(folder, spec) if token is None else _given(folder, token)
    if claim is None:  # published while we waited for it
        yield
        return
    try:
        with claims.Heart([(folder, claim)]):
            yield
    finally:
        if token is None:
            claims.release(folder, claim)


def _given(folder: Path, token: str) -> Claim | None:
    """The claim that was taken when this worker was submitted."""
    claim = claims.read(folder)
    if claim is None and not folder.is_dir():
        return None
    if claim is None or claim.token != token or claim.released:
        raise Superseded("this job does not have the node any more: somebody else has taken it over, or gave it up")
    if claim.job is None:  # the head died before it could write this down
        claim = replace(claim, job=job_id())
        claims.update(folder, claim)
    return claim


def _claimed(folder: Path, spec: NodeSpec) -> Claim | None:
    """A claim of this worker's own; None if the node is published by whoever had it. The lock is held."""
    mine = Claim(token=claims.new_token(), launcher="local", pid=os.getpid())
    told = ""
    while folder.is_dir() and Store(Path(spec.store)).find(spec.stage, spec.fingerprint) is None:
        theirs = claims.read(folder)
        seen = standing.look([theirs] if theirs is not None else [])
        stands = standing.of(folder, theirs, seen, locked=False)
        if stands.state == "free":
            taken = claims.take(folder, mine, theirs)
            if taken is not None:
                return taken
        elif stands.reason != told:
            told = stands.reason
            print(f"{folder}: {told}; waiting for it", flush=True)
        time.sleep(RECHECK)
    return None


def job_id() -> str | None:
    """The Slurm job that this process is in, `12`, or `12_3` for an element of an array; None outside of Slurm."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{element}" if array and element else os.environ.get("SLURM_JOB_ID")
