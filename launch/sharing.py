"""Sharing: what a group needs to work in one store.

A store whose root may be written by its group is shared: `chgrp lab DIR; chmod 3775 DIR`. New folders then inherit the
group, which is the file system's doing. What is ours: that the group may add to the folders that all have in common,
where each may remove their own files alone; and that it may read, and not write, what somebody has made.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from stages import own
from stages.own import NotOwn

_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def join(root: Path) -> None:
    """From now on, create files as the store at `root` is shared: its group may write if it may write there."""
    os.umask(joined(root))


def joined(root: Path) -> int:
    """The umask with which files are created as the store at `root` is shared."""
    return _umask() & ~(stat.S_IRWXG if shared(root) else 0)


@contextlib.contextmanager
def closed(root: Path) -> Iterator[None]:
    """Create files that the group may read if the store at `root` is shared, and nobody else may write."""
    before = _umask()
    if shared(root):
        os.umask(before & ~(stat.S_IRGRP | stat.S_IXGRP) | _OTHERS)
    try:
        yield
    finally:
        os.umask(before)


def shared(root: Path) -> bool:
    """Whether the group may write in a store; one that is not there is nobody's yet."""
    try:
        return bool(root.stat().st_mode & _OTHERS)
    except OSError:
        return False


def folder(root: Path, *names: str) -> Path:
    """The folder `<root>/<names...>`, made where it is absent, for everybody who may write in the store.

    In a shared store it is sticky: each may remove their own files alone. One that an earlier version has made becomes
    so, if it is this user's.

    Raises:
        NotOwn: somebody else has put a link there, or a file.
    """
    found = root.joinpath(*names)
    if not shared(root):
        found.mkdir(parents=True, exist_ok=True)
        return found
    store = root.stat()
    found = root
    for name in names:
        found = found / name
        _add(found, store)
    return found


def own_folder(path: Path, root: Path) -> None:
    """Make a folder that others may read alone, in one that all share; one of an earlier version becomes so.

    Raises:
        NotOwn: somebody else has put something there.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o755)
    if not shared(root):
        return
    seen = path.lstat()
    if stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid() and seen.st_mode & _OTHERS:
        path.chmod(stat.S_IMODE(seen.st_mode) & ~_OTHERS)
    own.check(path)
    own.keep(path)


def found(root: Path, stages: Iterable[str]) -> None:
    """Make what everybody shares in a store, if it is this user's: what lies in a folder, the folder's owner can move.

    Members of the group make what is absent when they need it, and then it is theirs.
    """
    if shared(root) and root.stat().st_uid == os.geteuid():
        for name in (own.USERS, "runs", "logs"):
            folder(root, name)
        for stage in stages:
            folder(root, stage)
            folder(root, "logs", stage)


def _add(path: Path, store: os.stat_result) -> None:
    """Make one folder of a shared store, unless it is there."""
    wanted = stat.S_IRWXU | store.st_mode & 0o077 | stat.S_ISVTX
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, wanted)
    seen = path.lstat()
    if stat.S_ISLNK(seen.st_mode) and seen.st_uid in (store.st_uid, os.geteuid()) and path.is_dir():
        return  # to another disk, by whoever the store belongs to
    if not stat.S_ISDIR(seen.st_mode):
        raise NotOwn(f"{path} is no folder: {own.login(seen.st_uid)} has put it there, and has to remove it")
    if seen.st_uid != os.geteuid() or seen.st_mode & wanted == wanted:
        return
    # By descriptor: whoever may move this folder may put a link in its place.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) | wanted)
    finally:
        os.close(descriptor)


def log(file: Path) -> IO[bytes]:
    """A log in `<store>/logs/<stage>/`, opened to write behind what it has.

    Raises:
        NotOwn: it is a link, no file, or somebody else's.
    """
    root = file.parents[2]
    folder(root, *file.parent.relative_to(root).parts)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags, 0o644)
    except OSError:  # a link, a pipe, or a file that only its owner may write
        if not os.path.lexists(file):
            raise
        raise _no_log(file) from None
    seen = os.fstat(descriptor)
    foreign = shared(root) and seen.st_uid != os.geteuid()
    if foreign or seen.st_nlink > 1 or not stat.S_ISREG(seen.st_mode):
        os.close(descriptor)
        raise _no_log(file)
    return open(descriptor, "ab")


def _no_log(file: Path) -> NotOwn:
    owner = own.login(file.lstat().st_uid)
    return NotOwn(f"{file} is no log of this user: {owner} has put it there, and has to remove it")


def hand_over(folder: Path, root: Path) -> None:
    """Let the group read what libraries wrote for this user alone (0600, as of temporary files that were renamed).

    Nobody else may write any of it: what is in an artifact is what its record says.
    """
    if not shared(root):
        return
    for place, _, files in os.walk(folder):
        for path in (place, *(os.path.join(place, file) for file in files)):
            with contextlib.suppress(OSError):  # somebody else's, or gone
                _open(path)


def _open(path: str) -> None:
    """The group may read what the owner may read, and nobody but the owner may write."""
    seen = os.lstat(path)
    mode = stat.S_IMODE(seen.st_mode)
    wanted = (mode | (mode & (stat.S_IRUSR | stat.S_IXUSR)) >> 3) & ~_OTHERS
    if wanted != mode and not stat.S_ISLNK(seen.st_mode) and seen.st_uid == os.getuid():
        os.chmod(path, wanted)


def _umask() -> int:
    """The umask of this process, which can only be read by setting it."""
    now = os.umask(0o077)
    os.umask(now)
    return now
