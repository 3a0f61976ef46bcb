"""Places: the store that a config names, as far as it can be one."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.names import NAME_MAX
from orchestrator.refusal import ConfigError
from orchestrator.values import SHOWN, shown
from stages.store import Store


def store(text: str) -> Store:
    """The store at a path, which need not be there yet.

    Raises:
        ConfigError: no folder can be there.
    """
    key, allowed = (
        f"store={text if len(text) <= SHOWN else shown(text)}",
        "allowed: a folder, or a path where one can be made",
    )
    if "\0" in text:
        raise ConfigError([f"{key}: a path has no NUL character; {allowed}"])
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
    return Store(root)


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
