"""A folder of one's own: where a store that a group shares keeps code and control files of one user.

    <store>/users/<login>/<name>/...     nobody but that user can write there

A member of the group may write in the store's root, and so may move `users` out of the way, unless the root is sticky:
it is made so as soon as its owner needs a folder here. Nobody but its user can make what is in such a folder, so
whoever reads code or an order checks the owner and the mode of what it has opened, too.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

USERS = "users"

_OTHERS = stat.S_IWGRP | stat.S_IWOTH

#: A default access list as Linux keeps it (posix_acl_xattr.h): a version, then entries of tag, permissions and id.
_INHERITED, _ENTRY = "system.posix_acl_default", struct.Struct("<HHI")
#: Tags of all but the owner: a user and a group by name, the group, the mask of these, everybody else.
_OF_OTHERS = (0x02, 0x04, 0x08, 0x10, 0x20)


class NotOwn(Exception):
    """A file or folder that has to be this user's alone is not; with its path, its owner and the remedy."""


def folder(store: Path, *names: str) -> Path:
    """The folder `<store>/users/<login>/<names...>` of this user, made where it is absent.

    Others may read it as far as they may read the store, and never write it, whatever the umask is.

    Raises:
        NotOwn: a part of it is a link, is no folder, belongs to somebody else, or may be written by others.
        OSError: it cannot be made.
    """
    store.mkdir(parents=True, exist_ok=True)
    seen = store.stat()
    if seen.st_mode & _OTHERS and not seen.st_mode & stat.S_ISVTX and seen.st_uid == os.getuid():
        os.chmod(store, stat.S_IMODE(seen.st_mode) | stat.S_ISVTX)
    _shared(store / USERS, seen.st_mode)
    found = store / USERS
    for name in (login(os.getuid()), *names):
        found = found / name
        try:
            _make(found, stat.S_IRWXU | seen.st_mode & 0o055)
        except PermissionError:
            owner = _name(found.parent.lstat().st_uid)
            raise NotOwn(f"{found} cannot be made: {owner} has to let the group write in {found.parent}") from None
        check(found)
        keep(found)
    return found


def check(path: Path) -> None:
    """See that a file or folder is this user's, and that nobody else may write it.

    Raises:
        NotOwn: it is not so, or it is a link.
        OSError: it is not there, or cannot be looked at.
    """
    check_seen(path, path.lstat())


def check_seen(path: Path, seen: os.stat_result) -> None:
    """See the same of what `path` was when it was looked at, as by `os.fstat` of an open file.

    Raises:
        NotOwn: it is not so.
    """
    if stat.S_ISLNK(seen.st_mode):
        raise NotOwn(f"{path} is a symbolic link of {_name(seen.st_uid)}; remove it")
    if not (stat.S_ISREG(seen.st_mode) or stat.S_ISDIR(seen.st_mode)):
        raise NotOwn(f"{path} is neither a file nor a folder; it belongs to {_name(seen.st_uid)}; remove it")
    if seen.st_uid != os.getuid():
        why = "" if os.getuid() else ", or run as another user than root, whom file servers take for nobody"
        raise NotOwn(f"{path} belongs to {_name(seen.st_uid)}, not to {_name(os.getuid())}; rename it{why}")
    if seen.st_mode & _OTHERS:
        raise NotOwn(f"{path} of {_name(seen.st_uid)} may be written by others; see what they wrote, and remove it")


def loose(store: Path) -> str | None:
    """Which members of the group may move the folders of others, and who can keep them from it; None if none may."""
    seen = store.stat()
    if not seen.st_mode & _OTHERS:
        return None
    owner, users = _name(seen.st_uid), store / USERS
    if not seen.st_mode & stat.S_ISVTX:
        return f"others may move what is in {store}, which belongs to {owner}; {owner} runs: chmod +t {store}"
    if users.is_dir() and users.lstat().st_uid not in (seen.st_uid, os.getuid(), 0):
        other = _name(users.lstat().st_uid)
        return f"{other} may move what is in {users}, which {other} has made; root runs: chown {owner} {users}"
    return None


def text(file: Path) -> str:
    """The text of a file of this user's, which nobody else can have written.

    Raises:
        NotOwn: somebody else can.
        OSError: it is not there, or cannot be opened.
        ValueError: it is no UTF-8.
    """
    check(file)
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, encoding="utf-8") as stream:
        check_seen(file, os.fstat(descriptor))  # it may be another by now
        return stream.read()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """For as long as the block lasts, create files that others cannot write."""
    before = os.umask(_OTHERS)
    try:
        os.umask(before | _OTHERS)
        yield
    finally:
        os.umask(before)


def keep(folder: Path) -> None:
    """Have what is made in a folder of one's own be nobody else's to write, whatever list of access it inherited.

    A default list (`setfacl --default`), which a folder hands down to those below it, stands in place of the umask.

    Raises:
        OSError: it cannot be changed.
    """
    try:
        held = os.getxattr(folder, _INHERITED, follow_symlinks=False)
    except OSError:  # it has none, or the file system knows none
        return
    listed = [
        (tag, allowed & ~(2 if tag in _OF_OTHERS else 0), who) for tag, allowed, who in _ENTRY.iter_unpack(held[4:])
    ]
    wanted = held[:4] + b"".join(_ENTRY.pack(*each) for each in listed)
    if wanted != held:
        os.setxattr(folder, _INHERITED, wanted, follow_symlinks=False)


def login(uid: int) -> str:
    """The name of a user; the number where no name is known."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _name(uid: int) -> str:
    known = login(uid)
    return f"user {uid}" if known == str(uid) else known


def _shared(users: Path, store: int) -> None:
    """Make the folder of everybody's folders: who may write in the store may add one, and remove none of another's."""
    mode = stat.S_IRWXU | store & 0o077
    mode |= stat.S_ISVTX if mode & _OTHERS else 0
    if os.path.lexists(users):
        _make(users, mode)
    else:
        # Complete before it has its name: somebody else may want to make a folder in it at this moment.
        draft = users.with_name(f".{USERS}.{secrets.token_hex(6)}")
        _make(draft, mode)
        try:
            os.rename(draft, users)
        except OSError:  # somebody was faster
            draft.rmdir()
    seen = users.lstat()
    if not stat.S_ISDIR(seen.st_mode):
        raise NotOwn(f"{users} is no folder; it belongs to {_name(seen.st_uid)}; remove it")
    if seen.st_mode & _OTHERS and not seen.st_mode & stat.S_ISVTX:
        owner = _name(seen.st_uid)
        raise NotOwn(f"others may move what is in {users}, which belongs to {owner}; {owner} runs: chmod +t {users}")


def _make(path: Path, mode: int) -> None:
    """Make a folder with this mode, of the group of the folder above. One that is there may have been made when others
    could do less in the store: it gets what it lacks, if it is this user's.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, stat.S_IRWXU)
    seen = path.lstat()
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid() or seen.st_mode & mode == mode:
        return
    # By descriptor: in a moment somebody else may have moved the folder, and have put a link there.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        seen = os.fstat(descriptor)
        if seen.st_uid == os.getuid():
            os.fchmod(descriptor, stat.S_IMODE(seen.st_mode) | mode)
    finally:
        os.close(descriptor)
