"""Values: what a config may hold, so that canonical JSON can hold it too; and how a message shows one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

#: The largest whole number that canonical JSON (RFC 8785) holds exactly, as a double does.
LARGEST = 2**53 - 1

#: Characters of a value that a message shows.
SHOWN = 200


def shown(value: object) -> str:
    """A value as Python writes it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits, or of brackets
        return f"<{type(value).__name__}>"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"


def faults(plain: Any, key: str) -> Iterator[tuple[str, str]]:
    """(Full key, message) of every value in `plain`, which stands at `key`, that no fingerprint can hold."""
    if isinstance(plain, dict):
        for name, value in plain.items():
            yield from _name_faults(name, key)
            yield from faults(value, f"{key}.{name}" if key else str(name))
    elif isinstance(plain, list | tuple):
        for number, value in enumerate(plain):
            yield from faults(value, f"{key}.{number}")
    elif (fault := _fault(plain)) is not None:
        yield key, f"{key}={shown(plain)}: {fault}"


def unpaired(text: str) -> str | None:
    """The first half of a surrogate pair in a text, as U+XXXX; None if it is Unicode."""
    return next((f"U+{ord(each):04X}" for each in text if "\ud800" <= each <= "\udfff"), None)


def _name_faults(name: object, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(name, str) and unpaired(name):
        full = f"{key}.{name}" if key else name
        yield full, f"{full}: this name is no Unicode text: it has {unpaired(name)}, half of a surrogate pair"


def _fault(value: object) -> str | None:
    """What keeps a plain value from being canonical JSON."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else "input should be a finite number"
    if isinstance(value, int):
        allowed = f"input should be a whole number from -{LARGEST} to {LARGEST}"
        return None if abs(value) <= LARGEST else f"{allowed}; no fingerprint holds a larger one exactly"
    if isinstance(value, str):
        half = unpaired(value)
        return f"input should be Unicode text; it has {half}, half of a surrogate pair" if half else None
    allowed = "text, a number, true, false, null, a list or a mapping"
    return f"a {type(value).__name__} is no JSON; input should be {allowed}"
