"""Two users of a group, as numbers that need no account: what a process of one of them does, and what it may not."""

from __future__ import annotations

import os
import pickle
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from launch import sharing

ALICE, BOB, LAB = 64001, 64002, 64000
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as two users")

T = TypeVar("T")


def act(uid: int, do: Callable[[], T]) -> T:
    """What `do` returns in a process of this user, which keeps the group out by its umask; what it raises, too."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            os.setgroups([LAB])
            os.setresgid(LAB, LAB, LAB)
            os.setresuid(uid, uid, uid)
            os.umask(0o077)
            os.environ.update(LOGNAME=f"user{uid}", HOME="/nonexistent")
            said: Any = (True, do())
        except BaseException as error:
            said = (False, error)
        with open(write, "wb") as stream:
            pickle.dump(said, stream)
        os._exit(0)
    os.close(write)
    with open(read, "rb") as stream:
        found = stream.read()
    os.waitpid(pid, 0)
    well, result = pickle.loads(found)
    if not well:
        raise result
    return result  # type: ignore[no-any-return]


def lab(mode: int = 0o3775, *, stages: Iterable[str] = ()) -> Iterator[Path]:
    """A store that the group shares, with the mode of its root, and a home of each user beside it.

    The folders of `stages` were made by its owner, as `run` and `doctor` do.
    """
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        os.chmod(folder, 0o755)
        store = Path(folder, "store")
        store.mkdir()
        os.chown(store, 0, LAB)
        store.chmod(mode)
        sharing.found(store, stages)
        for uid in (ALICE, BOB):
            home = Path(folder, str(uid))
            home.mkdir()
            (home / "precious").write_text("precious")
            for each in (home, home / "precious"):
                os.chown(each, uid, LAB)
        yield store


def changes(folder: Path) -> list[Path]:
    """What a user can change of what another has made below a folder: each is tried."""
    return [path for path in sorted(folder.rglob("*")) if path.lstat().st_uid != os.getuid() and _changes(path)]


def _changes(path: Path) -> bool:
    done = False
    if stat.S_ISREG(path.lstat().st_mode):
        try:
            with path.open("r+b"):
                done = True
        except OSError:
            pass
    try:
        os.rename(path, path.with_name(f"{path.name}.stolen"))
        os.rename(path.with_name(f"{path.name}.stolen"), path)
        return True
    except OSError:
        return done
