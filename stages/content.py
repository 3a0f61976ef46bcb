"""The content of files: their SHA-256, remembered by path, size, mtime and inode, so that a model is hashed once.

The head hashes what a source names, and a worker looks again when it starts: a file that was edited while the job
waited in the queue would be read under the fingerprint of what it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages import artifact
from stages.store import Memory, stamp

#: In the store: the hashes that are known.
SOURCES = ".sources.json"


def memory(store: Path) -> Memory:
    """What is remembered in a store."""
    return Memory(store / SOURCES)


def of_file(file: Path, known: Memory) -> str:
    """The SHA-256 of a file."""
    key = f"{file}:{stamp(file.stat())}"
    found: str | None = known.get(key)
    if found is None:
        found = artifact.sha256(file)
        known.put(key, found)
    return found


def in_folder(folder: Path) -> list[Path]:
    """The files of a folder that are its content: none behind a link to a folder, or with a dot before a name."""
    every = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return [file for file in every if not any(part.startswith(".") for part in file.relative_to(folder).parts)]


def of_folder(folder: Path, known: Memory) -> dict[str, str]:
    """The SHA-256 of every file of a folder, by its path there; what has a name that begins with a dot is left out."""
    files = in_folder(folder)
    keys = {file: f"{file}:{stamp(file.stat())}" for file in files}
    unknown = [file for file in files if known.get(keys[file]) is None]
    for file, digest in zip(unknown, artifact.hashes(unknown), strict=True):
        known.put(keys[file], digest)
    return {file.relative_to(folder).as_posix(): known.get(keys[file]) for file in files}


def changed(path: Path, file: str | None, content: Mapping[str, Any], known: Memory) -> str | None:
    """Which file is not any more what `content` says; None if all are.

    `content` has the `sha256` of `path`, or of `file` in it, or the `files` of the folder.
    """
    if "sha256" in content:
        one = path / file if file else path
        return None if one.is_file() and of_file(one, known) == content["sha256"] else str(one)
    now, then = of_folder(path, known), content.get("files", {})
    return next((str(path / name) for name in sorted({*now, *then}) if now.get(name) != then.get(name)), None)
