"""A JSON file in a folder that others may write: read as data of bounded size, whatever somebody has put there.

It is written whole or not at all, and never through a link.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

#: Bytes of a file that is read, at most. The largest that are written list an artifact's files, or a study's nodes.
LARGEST = 64 * 2**20


class Spoilt(ValueError):
    """A file is there and holds no JSON: it is a link, a pipe, too large, cut short or nested without end."""


def text(file: Path) -> str:
    """The text of a file in UTF-8. A link is not followed, and what is no file is not waited for.

    Raises:
        FileNotFoundError: it is not there.
        OSError: it cannot be opened.
        Spoilt: it is no regular file, has more than `LARGEST` bytes, or is no UTF-8.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        seen = os.fstat(descriptor)
        if not stat.S_ISREG(seen.st_mode):
            raise Spoilt("it is no regular file")
        if seen.st_size > LARGEST:
            raise Spoilt(f"it has {seen.st_size} bytes, more than {LARGEST}")
        try:
            return stream.read(LARGEST).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Spoilt(str(error)) from None


def read(file: Path) -> Any:
    """The value that a file holds; see `text` for what it raises."""
    return parse(text(file))


def parse(said: str) -> Any:
    """The value of a JSON text.

    Raises:
        Spoilt: it is none, or nested too deeply.
    """
    try:
        return json.loads(said)
    except (ValueError, RecursionError, MemoryError) as error:
        raise Spoilt(str(error) or type(error).__name__) from None


def object_in(file: Path) -> dict[str, Any]:
    """The object in a file of the user's own, however large it is and wherever it links; empty if there is none."""
    try:
        found = parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(file: Path, value: Any, **how: Any) -> None:
    """Write a value, as `json.dumps` does with `how`. Readers see the old file or the new one.

    Raises:
        OSError: nothing was changed.
    """
    draft = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(value, **how))
        os.replace(draft, file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
