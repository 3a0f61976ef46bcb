"""Spoilt entries of a store: files and folders that are there and cannot be read as what they should be.

Whoever meets one notes it and goes on without it. The verb tells all of them at its end, each once.
"""

from __future__ import annotations

import os
from pathlib import Path

#: Entries that are kept, at most, as a hostile folder may have any number of them; and characters of a reason.
MOST, LONGEST = 10_000, 200

_met: dict[str, str] = {}


def note(path: Path | str, why: object) -> None:
    """Note an entry and why it cannot be read. An entry that is not there is not spoilt, and is not noted."""
    if isinstance(why, FileNotFoundError) or (len(_met) >= MOST and str(path) not in _met):
        return
    said = os.strerror(why.errno).lower() if isinstance(why, OSError) and why.errno else str(why)
    _met.setdefault(str(path), (said.splitlines() or [type(why).__name__])[0][:LONGEST])


def take() -> list[tuple[str, str]]:
    """The entries that were noted since the last call, by path, each with the reason."""
    found = sorted(_met.items())
    _met.clear()
    return found
