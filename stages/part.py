"""A user's part of a node's folder: what that user's workers wrote while they worked on the node.

    <store>/<stage>/.<fingerprint16>/claim-<n>.json    who has the node: the highest number counts
    <store>/<stage>/.<fingerprint16>/user-<uid>/       a part: node.json, lock, progress.json, attempts, work/, out/

Where a group shares the store the node's folder is sticky: everybody in the group may add to it, and what somebody has
added is that user's alone. Whoever takes a node over adds a claim and a part, and changes none of another's. Where
nobody else may write, and in a folder that an earlier version has made for this user, the part is the folder itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from stages import own

#: A worker that has begun has counted its attempt here.
ATTEMPTS = "attempts"

_CLAIM = re.compile(r"claim-([1-9]\d{0,8})\.json")
_PART = re.compile(r"user-(0|[1-9]\d{0,9})")
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def mine(folder: Path) -> Path:
    """The part of this process's user, whether it is there or not."""
    try:
        seen = os.lstat(folder)
    except OSError:
        return folder
    return folder if _is_whole(seen, os.geteuid()) else folder / f"user-{os.geteuid()}"


def make(folder: Path) -> Path:
    """The part of this process's user, made where it is absent.

    Raises:
        NotOwn: somebody else has put something there, or may write there.
        FileNotFoundError: the node's folder is gone: the node is published.
    """
    part = mine(folder)
    if part != folder:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, 0o755)
        own.check(part)
    return part


def of(folder: Path, uid: int) -> Path:
    """The part of a user; the folder itself if that user has no part of it."""
    part = folder / f"user-{uid}"
    return part if _is_part(part, uid) else folder


def last(folder: Path) -> Path:
    """The part of whoever has, or had, the claim that counts: what became of the last attempt is there."""
    number = claimed(folder)
    owner = None if number is None else owner_of(claim(folder, number))
    return mine(folder) if owner is None else of(folder, owner)


def every(folder: Path) -> list[Path]:
    """The node's folder and all parts of it, of whoever they are."""
    return [folder, *(folder / name for name in _names(folder) if _is_named(folder, name))]


def before(folder: Path, number: int) -> Path | None:
    """The part of whoever worked on the node last before the claim of this number; None if nobody did."""
    owners = (owner_of(claim(folder, each)) for each in range(number - 1, 0, -1))
    parts = dict.fromkeys(of(folder, owner) for owner in owners if owner is not None)
    return next((part for part in [*parts, folder] if os.path.isfile(part / ATTEMPTS)), None)


def claim(folder: Path, number: int) -> Path:
    """The file of a claim."""
    return folder / f"claim-{number}.json"


def claimed(folder: Path) -> int | None:
    """The number of the claim that counts; None if there is none.

    Claims are numbered without a gap, so a number that somebody has made up far above them counts for nothing.
    """
    numbers = {int(found[1]) for name in _names(folder) if (found := _CLAIM.fullmatch(name))}
    number = 0
    while number + 1 in numbers:
        number += 1
    return number or None


def owner_of(path: Path) -> int | None:
    """The numeric id of the user who made a file; None if it is not there."""
    try:
        return os.lstat(path).st_uid
    except OSError:
        return None


def is_shared(folder: Path) -> bool:
    """Whether others may add to a folder."""
    try:
        return bool(os.lstat(folder).st_mode & _OTHERS)
    except OSError:
        return False


def _is_whole(seen: os.stat_result, uid: int) -> bool:
    """Whether a node's folder is one part, of this user."""
    return not seen.st_mode & stat.S_ISVTX and (seen.st_uid == uid or not seen.st_mode & _OTHERS)


def _is_part(part: Path, uid: int) -> bool:
    try:
        seen = os.lstat(part)
    except OSError:
        return False
    return stat.S_ISDIR(seen.st_mode) and seen.st_uid == uid


def _is_named(folder: Path, name: str) -> bool:
    found = _PART.fullmatch(name)
    return found is not None and _is_part(folder / name, int(found[1]))


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
