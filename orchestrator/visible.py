"""Texts of others, made visible: nothing of them but ink, spaces, tabs and the ends of lines reaches a terminal."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    """A text whose control and other invisible characters are shown: `visible("\\x1b[1m")` is `"<U+001B>[1m"`.

    Tabs and the ends of lines stay.
    """
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in text.split("\n"))


def inline(text: str) -> str:
    """A text on one line."""
    return visible(text).replace("\n", "<U+000A>").replace("\t", "<U+0009>")


def _shown(character: str) -> str:
    """A character, or its number if it is neither ink nor space: if it controls, directs or separates, for example."""
    seen = character.isprintable() or character == "\t" or unicodedata.category(character) == "Zs"
    return character if seen else f"<U+{ord(character):04X}>"
