"""A user's part of a node's folder: what that user's workers wrote while they worked on the node.

    <store>/<stage>/.<fingerprint16>/claim-<n>.json    who has the node: the highest number counts
    <store>/<stage>/.<fingerprint16>/user-<uid>/       a part: node.json, lock, progress.json, attempts, work/, out/

Where a group shares the store the node's folder is sticky: everybody in the group may add to it, and what somebody has
added is that user's alone. Whoever takes a node over adds a claim and a part, and changes none of another's. Where
nobody else may write, and in a folder that an earlier version has made for this user, the part is the folder itself.

Whoever a folder belongs to can move what is in it, and put a link there. So where the node's folder, or that of its
stage, is neither the user's nor that of the store's owner, the user's part lies in the root of the store:

    <store>/.user-<uid>/<stage>/.<fingerprint16>/
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from pathlib import Path

from stages import own

#: A worker that has begun has counted its attempt here.
ATTEMPTS = "attempts"

_CLAIM = re.compile(r"claim-([1-9]\d{0,8})\.json")
_PART = re.compile(r"user-(0|[1-9]\d{0,9})")
_APART = re.compile(r"\.user-(0|[1-9]\d{0,9})")
_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def mine(folder: Path) -> Path:
    """The part of this process's user, whether it is there or not."""
    try:
        seen = os.lstat(folder)
    except OSError:
        return folder
    return folder if _is_whole(seen, os.geteuid()) else _place(folder, os.geteuid())


def make(folder: Path) -> Path:
    """The part of this process's user, made where it is absent.

    Raises:
        NotOwn: somebody else has put something there, or may write there.
        FileNotFoundError: the node's folder is gone: the node is published.
    """
    part = mine(folder)
    seen = os.lstat(folder)
    if part == folder and not os.access(folder, os.W_OK):
        raise own.NotOwn(f"{folder} belongs to {own.login(seen.st_uid)}, who lets nobody else write there; remove it")
    made = [] if part == folder else [part] if part.parent == folder else [part.parents[1], part.parent, part]
    for each in made:
        with contextlib.suppress(FileExistsError):
            os.mkdir(each, 0o755)
        own.check(each)
        own.keep(each)
    return part


def of(folder: Path, uid: int) -> Path:
    """The part of a user; the folder itself if that user has no part of it."""
    places = (_place(folder, uid), _inside(folder, uid))
    return next((each for each in places if _is_part(each, uid)), folder)


def remove(folder: Path) -> None:
    """Remove a node's folder and this user's part of it. What others have in it stays."""
    for each in (folder, _apart(folder, os.geteuid())):
        shutil.rmtree(each, ignore_errors=True)


def left(store: Path) -> list[Path]:
    """The parts in the root of a store whose node's folder is gone, as far as this user can remove them."""
    parts = [each for each in sorted(store.glob(".user-*/*/.*")) if os.geteuid() in (0, owner_of(each.parent))]
    return [each for each in parts if not os.path.lexists(store / each.parent.name / each.name)]


def last(folder: Path) -> Path:
    """The part of whoever has, or had, the claim that counts: what became of the last attempt is there."""
    number = claimed(folder)
    owner = None if number is None else owner_of(claim(folder, number))
    return mine(folder) if owner is None else of(folder, owner)


def every(folder: Path) -> list[Path]:
    """The node's folder and all parts of it, of whoever they are."""
    store = folder.parent.parent
    inside = [folder / name for name in _names(folder) if _PART.fullmatch(name)]
    apart = [store / name / folder.parent.name / folder.name for name in _names(store) if _APART.fullmatch(name)]
    return [folder, *(each for each in inside + apart if _is_part(each, _uid(each, folder)))]


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


def _uid(part: Path, folder: Path) -> int:
    """The user whose part that is, by its path."""
    name = part.name if part.parent == folder else part.parents[1].name
    return int(name.rpartition("-")[2])


def _place(folder: Path, uid: int) -> Path:
    """Where the part of a user lies: inside the node's folder, unless somebody who is not trusted can move it there."""
    store, stage = folder.parent.parent, folder.parent
    try:
        root, above = os.stat(store), [os.lstat(folder), os.lstat(stage), os.stat(stage)]
    except OSError:
        return _inside(folder, uid)
    trusted = all(each.st_uid in (0, uid, root.st_uid) for each in above)
    elsewhere = above[-1].st_dev != root.st_dev  # on another disk, from where nothing can be renamed to its stage
    return _inside(folder, uid) if trusted or elsewhere else _apart(folder, uid)


def _inside(folder: Path, uid: int) -> Path:
    return folder / f"user-{uid}"


def _apart(folder: Path, uid: int) -> Path:
    return folder.parent.parent / f".user-{uid}" / folder.parent.name / folder.name


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
