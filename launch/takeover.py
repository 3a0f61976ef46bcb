"""Taking over: what another user's workers have saved of a node, copied into one's own part of its folder.

The other's files stay as they are. Of them regular files are copied, as far as they may be read, and nothing that is in
them is run: whoever reads a copy reads it as data.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from pathlib import Path

from launch import sharing
from stages import jsonfile, own, part
from stages.part import ATTEMPTS
from stages.saved import Saved

#: What survives a restart of a node, in a part.
WORK = "work"
#: The copy, until it is whole.
_DRAFT = ".work.draft"


def adopt(folder: Path, number: int) -> None:
    """Go on from the work of whoever had the node before the claim of this number, if that is another part than ours.

    What we saved ourselves stays if it is no less.

    Raises:
        OSError: it cannot be copied; nothing of it is lost.
    """
    mine, theirs = part.mine(folder), part.before(folder, number)
    if theirs is None or theirs == mine:
        return
    saved, known = Saved(theirs).step, Saved(mine).step
    if known is not None and (saved is None or known >= saved):
        return
    attempts = _attempts(theirs)
    # Until the work is here, the next attempt of ours has to look there again.
    (mine / ATTEMPTS).unlink(missing_ok=True)
    if (theirs / WORK).is_dir() and not (theirs / WORK).is_symlink():
        _bring(theirs / WORK, mine)
    if saved is not None:
        Saved(mine).record(saved)
    jsonfile.write(mine / ATTEMPTS, attempts)


def _attempts(theirs: Path) -> int:
    try:
        return int(jsonfile.text(theirs / ATTEMPTS))
    except (OSError, ValueError):
        return 0


def _bring(work: Path, mine: Path) -> None:
    """Make our work folder of theirs: moved if it is our own, of an earlier version, else copied."""
    draft = mine / _DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    if part.owner_of(work) == os.geteuid():
        os.rename(work, draft)
    else:
        print(f"{work.parent}: goes on from the work of {own.login(part.owner_of(work) or 0)}, in a copy", flush=True)
        _copy(work, draft)
    shutil.rmtree(mine / WORK, ignore_errors=True)
    os.rename(draft, mine / WORK)
    sharing.hand_over(mine / WORK, mine.parents[2])


def _copy(source: Path, target: Path) -> None:
    """Copy the regular files of a folder and its folders, no link among them, if the disk has room for all of it."""
    needed = sum(_size(Path(place, name)) for place, _, names in os.walk(source) for name in names)
    if needed > shutil.disk_usage(target.parent).free:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
    for place, _, names, descriptor in os.fwalk(source, follow_symlinks=False):
        onto = target / Path(place).relative_to(source)
        onto.mkdir()
        for name in names:
            _copy_file(descriptor, name, onto / name, Path(place, name))


def _size(file: Path) -> int:
    with contextlib.suppress(OSError):
        seen = file.lstat()
        return seen.st_size if stat.S_ISREG(seen.st_mode) else 0
    return 0


def _copy_file(folder: int, name: str, target: Path, path: Path) -> None:
    """Copy as many bytes of a file as it has now; what is no file, or may not be read, is left out and named."""
    try:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        print(f"{path}: not copied: {error.strerror}", flush=True)
        return
    with open(source, "rb", buffering=0) as stream:
        seen = os.fstat(source)
        if not stat.S_ISREG(seen.st_mode):
            print(f"{path}: not copied: it is no regular file", flush=True)
            return
        with target.open("xb", buffering=0) as made:
            left = seen.st_size
            while left and (count := _some(stream.fileno(), made.fileno(), left)):
                left -= count


def _some(source: int, target: int, most: int) -> int:
    """Copy some bytes; where the file system can, the copy shares its blocks with the original."""
    most = min(most, 2**26)
    try:
        return os.copy_file_range(source, target, most)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        content = os.read(source, most)
        written = 0
        while written < len(content):
            written += os.write(target, content[written:])
        return written
