"""Sharing: what a group needs to work in one store.

A store whose root may be written by its group is shared: `chgrp lab DIR; chmod 2775 DIR`. New folders then inherit
the group, which is the file system's doing; that the group may write in them is ours.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path


def join(root: Path) -> None:
    """From now on, create files as the store at `root` is shared: its group may write if it may write there."""
    if shared(root):
        os.umask(_umask() & ~stat.S_IRWXG)


def shared(root: Path) -> bool:
    """Whether the group may write in a store; one that is not there is nobody's yet."""
    try:
        return bool(root.stat().st_mode & stat.S_IWGRP)
    except OSError:
        return False


def hand_over(folder: Path, root: Path) -> None:
    """Give the group what libraries wrote for this user alone (0600, as of temporary files that were renamed)."""
    if not shared(root):
        return
    for place, _, files in os.walk(folder):
        for path in (place, *(os.path.join(place, file) for file in files)):
            with contextlib.suppress(OSError):  # somebody else's, or gone
                _open(path)


def _open(path: str) -> None:
    """The group may do what the owner may."""
    seen = os.lstat(path)
    mode = stat.S_IMODE(seen.st_mode)
    wanted = mode | (mode & stat.S_IRWXU) >> 3
    if wanted != mode and not stat.S_ISLNK(seen.st_mode) and seen.st_uid == os.getuid():
        os.chmod(path, wanted)


def _umask() -> int:
    """The umask of this process, which can only be read by setting it."""
    now = os.umask(0o077)
    os.umask(now)
    return now
