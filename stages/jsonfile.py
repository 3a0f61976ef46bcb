"""A JSON file in a folder that others may write: read as data of bounded size, whatever somebody has put there.

It is written whole or not at all, and never through a link.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from stages import spoilt

#: Bytes of a file that is read, at most. The largest that are written list an artifact's files, or a study's nodes.
LARGEST = 32 * 2**20
#: Bytes of a file about one node, at most: its claim, its progress, why it failed.
SMALL = 2**20
#: Values of a JSON text, at most: `[],` repeated takes thirty times the memory of its bytes.
VALUES = 2**21

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_LONG = re.compile(r"\d{19}")

Kind = TypeVar("Kind")


class Spoilt(ValueError):
    """A file is there and holds no JSON: it is a link, a pipe, too large, cut short or nested without end."""


def opened(file: Path) -> IO[bytes]:
    """A regular file, opened to be read. A link is not followed, and what is no file is not waited for.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be opened.
        Spoilt: it is no regular file.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise Spoilt("it is a link" if error.errno == errno.ELOOP else "it is a socket") from None
        raise
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise Spoilt(f"it is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}")
    return open(descriptor, "rb")


def text(file: Path, most: int = LARGEST) -> str:
    """The text of a file in UTF-8; see `opened` for what is no file.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be opened.
        Spoilt: it is no regular file, has more than `most` bytes, or is no UTF-8.
    """
    with opened(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > most:
            raise Spoilt(f"it has {size} bytes, more than {most}")
        try:
            return stream.read(most).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Spoilt(str(error)) from None


def read(file: Path, most: int = LARGEST) -> Any:
    """The value that a file holds; see `text` for what it raises."""
    return parse(text(file, most))


def parse(said: str) -> Any:
    """The value of a JSON text.

    Raises:
        Spoilt: it is none, nested too deeply, or of more than `VALUES` values.
    """
    if len(said) > VALUES and said.count(",") + said.count("[") + said.count("{") > VALUES:
        raise Spoilt(f"it has more than {VALUES} values")
    try:
        return json.loads(said, parse_int=_integer if _LONG.search(said) else None)
    except (ValueError, RecursionError, MemoryError) as error:
        raise Spoilt(str(error) or type(error).__name__) from None


def _integer(digits: str) -> int:
    """A number that a machine has, too: one of thousands of digits is none that anybody wrote, and no float."""
    value = int(digits)
    if abs(value) >= 2**63:
        raise Spoilt(f"a number of {len(digits)} digits")
    return value


def found(file: Path, most: int = SMALL) -> dict[str, Any] | None:
    """The object in a file of a store; None if there is no such file, or it is spoilt, which is noted."""
    try:
        plain = read(file, most)
    except (OSError, ValueError) as error:
        spoilt.note(file, error)
        return None
    if not isinstance(plain, dict):
        spoilt.note(file, f"it holds {_named(plain)}, not an object")
        return None
    return plain


def shaped(kind: Callable[..., Kind], file: Path, most: int = LARGEST) -> Kind:
    """The dataclass that a file holds. Fields of another version, which the class has not, are left out.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be opened.
        Spoilt: it is no such file, or a field is missing, or of another type.
    """
    said = text(file, most)
    try:
        made: Kind = _adapter(kind).validate_json(said, strict=True)
        return made
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Spoilt(f"{place + ': ' if place else ''}{first['msg']}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise Spoilt(str(error) or type(error).__name__) from None


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _named(value: Any) -> str:
    """What JSON calls a value."""
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def object_in(file: Path) -> dict[str, Any]:
    """The object in a file of the user's own, however large it is and wherever it links; empty if there is none.

    Its numbers are of any size: transformers writes 1000000000000000019884624838656 for "no longest sequence".
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError):
        return {}
    return found if isinstance(found, dict) else {}


def write(file: Path, value: Any, **how: Any) -> None:
    """Write a value, as `json.dumps` does with `how`. Readers see the old file or the new one.

    Raises:
        OSError: nothing was changed.
    """
    put(file, json.dumps(value, **how).encode())


def put(file: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file, whole or not at all. A link in its place is replaced, and so is a pipe; neither is written to.

    `mode` is that of the file, less what the umask takes.

    Raises:
        OSError: nothing was changed.
    """
    draft = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(draft, file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
