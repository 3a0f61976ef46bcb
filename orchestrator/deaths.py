"""What a job of Slurm left that ended without a message of its own: its last words, and whether memory ran out."""

from __future__ import annotations

from pathlib import Path

from launch import exhaustion, order
from launch.claim import Claim
from launch.standing import Standing
from stages.store import Store

#: How Slurm says that a job ended whose processes were ended by somebody else than the kernel.
_OTHERWISE = {"CANCELLED", "PREEMPTED", "TIMEOUT", "DEADLINE", "BOOT_FAIL", "COMPLETED"}


def written(claim: Claim | None, store: Store) -> list[Path]:
    """What Slurm wrote for a job, also if that did not come to open its own log."""
    if claim is None or claim.job is None:
        return []
    return sorted(order.find(store.root, claim.token).glob(f"{claim.job}_*_log.out"))


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
    found = written(claim, store)
    try:
        task = order.read(order.find(store.root, claim.token)).tasks[claim.index or 0]
    except (OSError, ValueError, IndexError):
        return found
    return [file for file in (Path(task.log), *found) if file.is_file()]
