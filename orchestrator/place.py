"""Places: the stores that a config names, as far as they can be some."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from launch.naming import NAME_MAX, hidden
from orchestrator import permission
from orchestrator.refusal import ConfigError
from orchestrator.values import SHOWN, shown
from stages.store import Store


def store(text: str, reads: Iterable[str] = ()) -> Store:
    """The store at a path, which need not be there yet; it also reads the stores at `reads`, which have to be.

    Raises:
        ConfigError: no folder can be there, or a store that is to be read is none.
    """
    root = _root("store", text, "allowed: a folder, or a path where one can be made")
    others = [_root("reads", each, "allowed: folders that are stores") for each in dict.fromkeys(reads)]
    if errors := [fault for each in others if (fault := _no_other(each, root)) is not None]:
        raise ConfigError(errors)
    return Store(root, others)


def _no_other(folder: Path, root: Path) -> str | None:
    """What keeps a folder from being a store that is read beside the one at `root`."""
    key = f"reads={folder}"
    if (closed := permission.unreadable(folder)) is not None:
        return f"{key}: {closed}"
    if not folder.is_dir():
        return f"{key}: no such folder; allowed: folders that are stores"
    return f"{key}: is the store itself (store={root})" if folder.resolve() == root.resolve() else None


def _root(name: str, text: str, allowed: str) -> Path:
    """The absolute path of the store that a key names.

    Raises:
        ConfigError: no folder can be there.
    """
    key = f"{name}={text if len(text) <= SHOWN else shown(text)}"
    if (found := hidden(text)) is not None:
        raise ConfigError([f"{name}={shown(text)}: has {found}, which cannot be seen; {allowed}"])
    try:
        root = Path(text).expanduser().absolute()
    except RuntimeError as error:  # ~nobody/
        raise ConfigError([f"{key}: {error}; {allowed}"]) from None
    try:
        fault = _fault(root)
    except OSError as error:
        raise ConfigError([f"{key}: {error.strerror}; {allowed}"]) from None
    if fault is not None:
        raise ConfigError([f"{key}: {fault}; {allowed}"])
    return root


def _fault(root: Path) -> str | None:
    """What keeps a path from being a folder, or from becoming one."""
    long = next((part for part in root.parts if len(os.fsencode(part)) > NAME_MAX), None)
    if long is not None:
        return f"a name of {len(os.fsencode(long))} bytes; a file system holds {NAME_MAX}"
    for place in (root, *root.parents):
        if place.is_symlink() and not place.exists():
            return f"{place} is a link to {os.readlink(place)}, which is not there"
        if place.exists():
            return None if place.is_dir() else f"{place} is a file"
    return None
