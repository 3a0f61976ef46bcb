"""A JSON file of an artifact, which a disk or somebody's hand may have spoilt since its record was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages import jsonfile, spoilt


class Unreadable(Exception):
    """A file of an artifact cannot be read: which, why, and what helps."""

    def __init__(self, folder: Path, name: str, why: object) -> None:
        first = (str(why).splitlines() or [type(why).__name__])[0]
        super().__init__(f"{folder}/{name} cannot be read ({first}); remove the folder, and run makes it again")


def read(folder: Path, name: str) -> dict[str, Any]:
    """The object that the file holds.

    Raises:
        Unreadable: it holds none.
    """
    try:
        found = jsonfile.read(folder / name)
    except (OSError, ValueError) as error:
        spoilt.note(folder / name, error)
        raise Unreadable(folder, name, error) from None
    if not isinstance(found, dict):
        spoilt.note(folder / name, "it holds no object")
        raise Unreadable(folder, name, "it holds no object")
    return found
