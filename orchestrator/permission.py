"""Permissions: what this user may not do with a store or a file of somebody else, and whose it is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.names import full
from stages import own
from stages.store import Store

if TYPE_CHECKING:
    from orchestrator.plan import Entry


def unwritable(root: Path) -> str | None:
    """Why nothing can be written in the store at `root`; None if it can be, or if it can be made there."""
    there = next((folder for folder in (root, *root.parents) if os.path.lexists(folder)), root)
    if os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        return None
    try:
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            return f"store={root}: cannot be written: its file system is read-only"
    except OSError:
        pass
    where = "" if there == root else f" in {there}"
    return f"store={root}: cannot be written{where}: {_whose(there)}"


def unreadable(path: Path) -> str | None:
    """Why this user may not read a file or a folder; None if that is not what keeps it from being read."""
    ways = ((each, os.X_OK) for each in reversed(path.parents))
    for each, mode in (*ways, (path, os.R_OK)):
        if not os.access(each, mode, effective_ids=True):
            there = os.access(each, os.F_OK, effective_ids=True)
            return f"{each} cannot be read: {_whose(each)}" if there else None
    return None


def left(entries: Sequence[Entry], store: Store) -> str | None:
    """What cannot be made, as the store cannot be written, and where it can be; None if there is no such thing."""
    why = unwritable(store.root)
    missing = [full(entry.node) for entry in entries if entry.state != "done"]
    if why is None or not missing:
        return None
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    reads = ",".join(str(each.root) for each in (store, *store.reads))
    remedy = f"a store of your own makes them and reads what is there: store=DIR 'reads=[{reads}]'"
    return f"{why}; {len(missing)} of {len(entries)} nodes are not published there ({missing[0]}{more}); {remedy}"


def notes(entries: Sequence[Entry], store: Store) -> Iterator[str]:
    """What is to be known of a plan where this user may not write, or not read."""
    if (what := left(entries, store)) is not None:
        yield what
    for folder in store.closed:
        yield f"{unreadable(folder)}; whatever is published there counts as not published"


def _whose(path: Path) -> str:
    """`it belongs to anna, and its mode does not let bob`, or what a file server says in place of that."""
    try:
        owner = path.lstat().st_uid
    except OSError as error:
        return str(error.strerror)
    return f"it belongs to {own.login(owner)}, and its mode does not let {own.login(os.geteuid())}"
