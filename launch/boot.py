"""The start of a job: it copies the code that was submitted to its own machine, checks every file, and runs the copy.

    python -I -S -c TEXT-OF-THIS-FILE SNAPSHOT DIGEST MODULE ARGUMENT...

The text goes to Slurm inside the script, so it imports nothing that could be edited while the job waits. A store may
lie in a folder that others may write, where a path names other files a moment after it was looked at: so what is
checked is the copy, in a folder that this user alone may enter. The copies of jobs that were killed are removed by the
next job.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from typing import NoReturn

#: In a snapshot: path -> SHA-256 of each of its files. The SHA-256 of this list is the snapshot's digest.
FILES = ".files.json"
#: In a snapshot: what git said of the tree that it is of. The same files may be of several commits.
GIT = ".snapshot.json"
#: The variable that names the folder of the code that a job runs.
CODE = "LAUNCH_CODE"

_COPY = "orchestrator-code-"


class Changed(Exception):
    """A snapshot is not what was submitted; with the file."""


def check(snapshot: str, digest: str, copy: str | None = None) -> None:
    """See that a snapshot has exactly the files that its digest names, and that only this user may write them.

    With `copy`, an empty folder, the files are copied there, and the copy is checked.

    Raises:
        Changed: it is not so.
        OSError: a file cannot be read, or not be copied.
    """
    _own(snapshot, os.lstat(snapshot))
    listed = _read(snapshot, FILES)
    if hashlib.sha256(listed).hexdigest() != digest:
        raise Changed(f"{snapshot}/{FILES} was changed")
    expected = json.loads(listed)
    found = set()
    for place, folders, files in os.walk(snapshot, onerror=_fail):
        for name in folders:
            _own(f"{place}/{name}", os.lstat(f"{place}/{name}"))
        for name in files:
            path = os.path.relpath(f"{place}/{name}", snapshot)
            if path not in expected and path not in (FILES, GIT):
                raise Changed(f"{snapshot}/{path} was added")
            held = _read(snapshot, path)
            if path in expected and hashlib.sha256(held).hexdigest() != expected[path]:
                raise Changed(f"{snapshot}/{path} was changed")
            found.add(path)
            if copy is not None:
                _write(f"{copy}/{path}", held, os.stat(f"{place}/{name}").st_mode)
    for path in sorted(expected.keys() - found):
        raise Changed(f"{snapshot}/{path} was removed")


def _fail(error: OSError) -> None:
    raise error


def _read(folder: str, path: str) -> bytes:
    """The bytes of a file of this user's; neither links are followed nor pipes waited for."""
    descriptor = os.open(f"{folder}/{path}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        _own(f"{folder}/{path}", os.fstat(descriptor))
        return stream.read()


def _own(path: str, seen: os.stat_result) -> None:
    if not (stat.S_ISREG(seen.st_mode) or stat.S_ISDIR(seen.st_mode)):
        raise Changed(f"{path} is neither a file nor a folder")
    if seen.st_uid != os.getuid():
        raise Changed(f"{path} belongs to user {seen.st_uid}, not to user {os.getuid()}")
    if seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Changed(f"{path} may be written by others")


def _write(path: str, held: bytes, mode: int) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags | os.O_EXCL, 0o600)) as stream:
        stream.write(held)
        os.fchmod(stream.fileno(), mode & 0o700)


def _folder() -> str:
    """A new folder of this user alone, locked for as long as this process lives, whatever it becomes."""
    for place in (tempfile.gettempdir(), "/tmp", "/dev/shm"):
        if not _may_be_moved(place) and os.access(place, os.W_OK):
            break
    else:
        raise OSError(f"others may move what is in {tempfile.gettempdir()}, /tmp and /dev/shm; set TMPDIR")
    _sweep(place)
    while True:
        made = tempfile.mkdtemp(prefix=_COPY, dir=place)
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # another job took it for one that is over
            descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            os.stat(made)  # whoever removes it has the lock alone meanwhile
            os.set_inheritable(descriptor, True)
            return made


def _may_be_moved(place: str) -> bool:
    """Whether others may rename a folder, or one above it: they may write in the one above, and it is not sticky."""
    place = os.path.realpath(place)
    above = [place]
    while above[-1] != "/":
        above.append(os.path.dirname(above[-1]))
    modes = [os.stat(each).st_mode for each in above]
    return any(mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX for mode in modes)


def _sweep(place: str) -> None:
    """Remove the copies of this user's jobs that are over."""
    for entry in os.scandir(place):
        if not entry.name.startswith(_COPY):
            continue
        with contextlib.suppress(OSError):  # it is in use, or somebody else's, or removed by another job
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid == os.getuid():
                    shutil.rmtree(entry.path)
            finally:
                os.close(descriptor)


def leave() -> None:
    """Remove the copy of the code that this process runs, as the last thing that it does."""
    copy = os.environ.get(CODE, "")
    if os.path.basename(copy).startswith(_COPY):
        shutil.rmtree(copy, ignore_errors=True)


def main(snapshot: str, digest: str, *words: str) -> None:
    """Become the process that runs a module of the copy."""
    try:
        copy = _folder()
        check(snapshot, digest, copy)
    except Changed as error:
        _end(f"the code that was submitted is not run: {error}; remove {snapshot} and run the command again")
    except OSError as error:
        _end(f"the code that was submitted cannot be copied: {error}")
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    inside = [each.replace(snapshot, copy, 1) if f"{each}/".startswith(f"{snapshot}/") else each for each in path]
    os.environ |= {CODE: copy, "PYTHONPATH": os.pathsep.join(inside)}
    os.chdir(copy)  # `python -m` looks there first
    os.execv(sys.executable, [sys.executable, "-u", "-m", *words])


def _end(message: str) -> NoReturn:
    """End with a line of a log, whatever the names of files have in them."""
    sys.exit("".join(each if each.isprintable() else "?" for each in message))


if __name__ == "__main__":
    main(*sys.argv[1:])
