"""The place where the processes of one node tell each other where they listen: nobody but their user can write there.

    <store>/users/<login>/meetings/<stage>.<fingerprint16>/     of the node in <store>/<stage>/.<fingerprint16>/

Who connects to a planted address works for whoever planted it: with its keys, and with torch also with its code.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from stages import jsonfile, own
from stages.contract import StageError

MEETINGS = "meetings"

#: Bytes of what is left there, at most.
LARGEST = 4096


def of(node: Path) -> Path:
    """The place of the node that is worked on in this folder, made where it is absent.

    Raises:
        StageError: somebody else may write in a folder above it.
    """
    try:
        return own.folder(node.parent.parent, MEETINGS, node.parent.name + node.name)
    except own.NotOwn as error:
        raise StageError(str(error)) from None


def leave(file: Path, said: bytes) -> None:
    """Leave something there for this user's processes alone, whole or not at all."""
    jsonfile.put(file, said, mode=0o600)


def read(file: Path) -> bytes:
    """What one of this user's processes has left there.

    Raises:
        OSError: it is not there, is no regular file, or others could have written or read it.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.getuid() or stat.S_IMODE(seen.st_mode) & 0o077:
            raise OSError(f"{file} is no file of this user, for this user alone: what it says is not believed")
        return stream.read(LARGEST)


def clear(node: Path) -> None:
    """Remove the place of a node, and what is left there, if this user has one."""
    shutil.rmtree(_places(node.parent.parent) / (node.parent.name + node.name), ignore_errors=True)


def places(store: Path) -> dict[Path, Path]:
    """This user's places, and the folder of the node of each, which may be gone."""
    parts = ((place, place.name.rpartition(".")) for place in sorted(_places(store).glob("*.*")))
    return {place: store / stage / f".{fingerprint}" for place, (stage, _, fingerprint) in parts}


def _places(store: Path) -> Path:
    return store / own.USERS / own.login(os.getuid()) / MEETINGS
