"""The lock of a node: what keeps two workers of one machine apart, and of all machines where the file system does.

Nobody waits for a lock in the kernel, where it could not be said for whom: the lock is taken, or somebody has it. Who
has it has written its name into the file. A file system may have no locks at all; claims alone hold the nodes then.
Each user has a lock of their own, in their part of the node's folder: what two users make is in two places.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from launch.claim import Claim
from stages import jsonfile, own, part
from stages.own import NotOwn
from stages.store import LOCK, LOCKLESS, is_locked

#: Whoever only asks whether a lock is held has it for a moment; so often, and after so many seconds, it is tried again.
LOOKS, LOOK = 4, 0.02


class Lock:
    """A node's lock that this process has until `release`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        os.close(self._descriptor)


def take(folder: Path, claim: Claim) -> Lock | None:
    """The lock of a node for the holder of `claim`; None if somebody else has it.

    Raises:
        NotOwn: what is in its place is no file, or somebody else's.
        FileNotFoundError: the node is published.
    """
    descriptor = _open(part.make(folder) / LOCK)
    for more in reversed(range(LOOKS)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError as error:
            if error.errno in LOCKLESS:
                break
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES) or not more:
                os.close(descriptor)
                if not more:
                    return None
                raise
            time.sleep(LOOK)
    with contextlib.suppress(OSError):  # a full disk; the lock holds, with no name in it
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{claim.job or ''}\n{claim.holder}\n".encode())
    return Lock(descriptor)


def _open(file: Path) -> int:
    """A lock's descriptor. No link is followed, and nothing is written into a file that is also somewhere else."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags, 0o644)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
        raise NotOwn(f"{file} is no file that a lock can be; remove it") from None
    seen = os.fstat(descriptor)
    foreign = part.is_shared(file.parent) and seen.st_uid != os.geteuid()
    if foreign or not stat.S_ISREG(seen.st_mode) or seen.st_nlink > 1:
        os.close(descriptor)
        raise NotOwn(f"{file} is no lock of this user: {own.login(seen.st_uid)} has put it there; remove it")
    return descriptor


def holder(folder: Path, claim: Claim | None = None) -> str | None:
    """Who has a node's lock, or took it last, for a person; None if nobody did, or the holder of `claim` itself."""
    parts = part.every(folder)
    held = next((each for each in parts if is_locked(each / LOCK)), part.last(folder))
    try:
        job, name, *_ = jsonfile.text(held / LOCK, jsonfile.SMALL).splitlines()
    except (OSError, ValueError):
        return None
    if claim is not None and (job, name) == (claim.job or "", claim.holder):
        return None
    return f"job {job} of {name}" if job else name


def missing(folder: Path) -> str | None:
    """What the file system of `folder` says if it has no locks; None if it has."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.strerror if error.errno in LOCKLESS else None
    finally:
        os.close(descriptor)
    return None
