"""The entries of a folder of a store, whatever somebody has put there: links, pipes, and no folder at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from stages import spoilt


def files(folder: Path, pattern: str) -> list[Path]:
    """The regular files of these names, in the order of their names; no links."""
    return _named(folder, pattern, stat.S_IFREG)


def folders(folder: Path, pattern: str = "*") -> list[Path]:
    """The folders of these names, in the order of their names; no links."""
    return _named(folder, pattern, stat.S_IFDIR)


def is_file(path: Path) -> bool:
    """Whether a regular file is there; anything else that is there is noted."""
    try:
        mode = path.lstat().st_mode
    except (OSError, ValueError) as error:
        spoilt.note(path, error)
        return False
    if not stat.S_ISREG(mode):
        spoilt.note(path, "it is no regular file")
    return stat.S_ISREG(mode)


def entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder as they come; none of one that is not there, or cannot be read, which is noted."""
    try:
        with os.scandir(folder) as found:
            yield from found
    except OSError as error:
        spoilt.note(folder, error)


def _named(folder: Path, pattern: str, kind: int) -> list[Path]:
    found = []
    for entry in entries(folder):
        if fnmatchcase(entry.name, pattern) and _kind(entry) == kind:
            found.append(Path(entry.path))
        elif fnmatchcase(entry.name, pattern) and kind == stat.S_IFREG:
            spoilt.note(entry.path, "it is no regular file")
    return sorted(found)


def _kind(entry: os.DirEntry[str]) -> int:
    """The kind of an entry, as `stat.S_IFMT` gives it; 0 of one that has gone."""
    try:
        return stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode)
    except OSError:
        return 0
