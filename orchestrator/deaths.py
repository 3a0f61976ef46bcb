"""What a job of Slurm left that ended without a message of its own: its last words, and whether memory ran out."""

from __future__ import annotations

import os
from pathlib import Path

from launch import exhaustion, order
from launch.claim import Claim
from launch.standing import Standing
from stages import listing
from stages.store import Store

#: How Slurm says that a job ended whose processes were ended by somebody else than the kernel.
_OTHERWISE = {"CANCELLED", "PREEMPTED", "TIMEOUT", "DEADLINE", "BOOT_FAIL", "COMPLETED"}


def written(claim: Claim | None, store: Store) -> list[Path]:
    """What Slurm wrote for a job, also if that did not come to open its own log."""
    if claim is None or claim.job is None:
        return []
    return listing.files(order.find(store.root, claim.token), f"{claim.job}_*_log.out")


def ordered(claim: Claim | None, store: Store) -> Path | None:
    """The log that a job of Slurm was told to write, one of this store's; None if it is not known."""
    if claim is None or claim.launcher != "slurm":
        return None
    try:
        task = order.read(order.find(store.root, claim.token)).tasks[claim.index or 0]
    except (OSError, ValueError, IndexError):
        return None
    said = Path(os.path.normpath(task.log))
    return said if said.is_relative_to(store.root) else store.logs(said.parent.name) / said.name


def starved(claim: Claim | None, stands: Standing, store: Store) -> str | None:
    """That memory ran out, and who says so; None if nobody does."""
    if claim is None or claim.launcher != "slurm" or stands.state != "free" or stands.ended in _OTHERWISE:
        return None
    said = exhaustion.line("\n".join(exhaustion.tail(file) for file in _logs(claim, store)))
    if said is None and stands.ended != "OUT_OF_MEMORY":
        return None
    return f"{exhaustion.WORDS}{said + '; ' if said else ''}{stands.reason}"


def last_words(claim: Claim | None, store: Store) -> str | None:
    """The last reason in what a job printed, and where that is: `; it says: ... (FILE)`."""
    for file in _logs(claim, store):
        said = exhaustion.last(exhaustion.tail(file))
        if said is not None:
            return f"its last words: {said} ({file})"
    return None


def _logs(claim: Claim | None, store: Store) -> list[Path]:
    """The log that a job was told to write, then what Slurm wrote; those that are there."""
    if claim is None or claim.launcher != "slurm":
        return []
    found, told = written(claim, store), ordered(claim, store)
    return [told, *found] if told is not None and listing.is_file(told) else found
