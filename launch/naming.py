"""Naming: one rule for a text of a config that becomes a path, a job's name, an option of sbatch, a cell or a label.

Such a text is what it looks like, and is one line: so no newline of it begins a line of a script, and nothing of it
turns or hides the rest.
"""

from __future__ import annotations

import re
import unicodedata

from launch import escape

#: Bytes of a file's name, and of those what is ours: a fingerprint, the number of an attempt, `.json`, a process's id.
NAME_MAX, OURS = 255, 32

#: Bytes of the name of an experiment, and of a node's label; and of a value of an option, which may list nodes.
LONGEST, LONGEST_VALUE = NAME_MAX - OURS, 4096

#: The form of an option of sbatch, as a cluster may write it.
OPTION = re.compile(r"-{0,2}[A-Za-z][A-Za-z0-9_-]*")

#: Letters that have no ink: fillers of Hangul, the joiner of graphemes, an empty pattern of Braille; and what only
#: chooses how the character before it looks.
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def hidden(text: str) -> str | None:
    """The first character of a text that nobody sees, `U+000A` for example; None if every one is ink or a space."""
    found = next((each for each in text if not escape.seen(each) or _BLANK.match(each)), None)
    if found is None:
        return None
    return f"U+{ord(found):04X} {unicodedata.name(found, '')}".rstrip()


def fault(text: str) -> str | None:
    """What keeps a text from being a name; None if nothing does."""
    if (found := hidden(text)) is not None:
        return f"has {found}, which cannot be seen; allowed: letters, digits, signs and spaces, on one line"
    if not text:
        return "is empty; allowed: a name"
    if not text.strip("."):
        return "is no name but another folder; allowed: a name that has more than dots"
    if text != text.strip():
        return "begins or ends with a space, which cannot be seen; leave it out"
    return None


def value_fault(text: str) -> str | None:
    """What keeps a text from being the value of an option of sbatch; None if nothing does. `-5` is a number."""
    if (found := hidden(text)) is not None:
        return f"has {found}, which cannot be seen; allowed: one line, as sbatch takes it"
    if not text.strip():
        return "is empty; allowed: a value, or null for the site's default"
    if re.match(r"-(?!\d)", text):
        return "begins with -, as an option does; allowed: a value, as sbatch takes it"
    if len(text.encode()) > LONGEST_VALUE:
        return f"{len(text.encode()):,} bytes of UTF-8; allowed: at most {LONGEST_VALUE:,}"
    return None
