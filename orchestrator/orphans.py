"""Orphans: waiting jobs of ours that nobody waits for any more."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path

from launch import claim as claims
from launch import order, queue
from launch.queue import Unanswered
from stages.store import Store


def cancel(store: Store, tell: Callable[[str], None]) -> None:
    """Cancel waiting jobs of ours whose nodes were taken over, or are done; their ids are told.

    Most would notice that themselves once they run; one that is held, or waits for one that is, never runs.
    """
    try:
        waiting = [entry for entry in queue.read([getpass.getuser()]).entries if entry.waiting and entry.token]
    except Unanswered:
        return
    orphans = [entry.id for entry in waiting if _is_orphan(entry, order.find(store.root, str(entry.token)))]
    if orphans and queue.try_cancel(orphans):
        tell(f"cancelled jobs that nobody waits for any more: {', '.join(orphans)}")


def _is_orphan(entry: queue.Entry, folder: Path) -> bool:
    try:
        given = order.read(folder)
    except (OSError, ValueError):  # another store's
        return False
    found = [claims.read(Path(node)) for node in given.tasks[entry.index or 0].folders]
    # What is done has no claim any more; but its last segment has to run, because others hang on it.
    return all(entry.held if claim is None else claim.token != given.token or claim.released for claim in found)
