"""The cause of what a machine does to us: a full disk, a file system that has gone, a limit that is reached."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
from pathlib import Path

#: What a machine, and no bug of ours, makes of a call. `{path}` is the file, `{root}` the store.
_WORDS = {
    errno.ENOSPC: "no space left on the disk of {root} ({path})",
    errno.EDQUOT: "the disk quota for {root} is used up ({path})",
    errno.EROFS: "the file system of {path} is read-only",
    errno.ESTALE: "the file server no longer knows {path}: stale file handle",
    errno.EIO: "the disk or the file server of {path} failed: input/output error",
    errno.ENOTCONN: "the file system of {path} is not mounted any more: transport endpoint is not connected",
    errno.EMFILE: "too many open files: this process may have {files} (ulimit -n; {path})",
    errno.ENFILE: "too many open files on this machine ({path})",
    errno.ENOLCK: "the file system of {path} has no file locks",
    errno.ENOTSUP: "the file system of {path} does not support this: {strerror}",
    errno.ENOSYS: "the file system of {path} does not support this: {strerror}",
    errno.EACCES: "{path}: permission denied",
    errno.EPERM: "{path}: operation not permitted",
    errno.ENAMETOOLONG: "{path}: this name is too long for its file system",
    errno.EAGAIN: "this machine takes no further process or thread: resource temporarily unavailable (ulimit -u)",
    errno.ETXTBSY: "{path} is being written",
    errno.ENOEXEC: "{path} cannot be run on this machine",
}
#: Those that libraries give on in words alone (safetensors: `I/O error: No space left on device (os error 28)`).
_TOLD = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.EIO, errno.EMFILE)
_CODE = re.compile(r"(?:os error|errno) (\d+)", re.IGNORECASE)
#: What torch says when a file became no longer though it wrote on.
_CUT = re.compile(r"PytorchStreamWriter failed|inline_container|unexpected pos")
#: Bytes that a disk has free when it is full: the last ones are nobody's to have.
_FULL = 2**20


def of(error: BaseException, root: Path) -> str | None:
    """What the machine did, if that is why `error` was raised; None if it is an error of another kind.

    `root` is the store, which is named where the error itself names no file.
    """
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        number = _number(at, root)
        if number is not None:
            return _line(number, at, root)
        at = at.__cause__ or at.__context__
    return None


def _number(error: BaseException, root: Path) -> int | None:
    if isinstance(error, OSError) and error.errno in _WORDS:
        return error.errno
    if not isinstance(error, Exception):
        return None
    text = str(error)
    named = _CODE.search(text)
    if named and int(named[1]) in _TOLD:
        return int(named[1])
    if _CUT.search(text) and _free(root) < _FULL:
        return errno.ENOSPC
    return next((number for number in _TOLD if os.strerror(number) in text), None)


def _line(number: int, error: BaseException, root: Path) -> str:
    path = getattr(error, "filename", None) or " ".join(str(error).split())
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _WORDS[number].format(path=path, root=root, files=files, strerror=os.strerror(number).lower())


def _free(root: Path) -> int:
    try:
        return shutil.disk_usage(root).free
    except OSError:
        return _FULL
