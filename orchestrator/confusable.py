"""Characters that look like others: a letter of another alphabet, a wide sign, a space or a dash that is none."""

from __future__ import annotations

import unicodedata

#: Letters that look like those of ASCII, in Cyrillic, Greek and Armenian, and what they look like.
_LOOKS = dict(
    zip(
        "аеорсухіјѕԁһԛԝӏвкмнтАВЕКМНОРСТУХІЈЅԌԚԜΑΒΕΖΗΙΚΜΝΟΡΤΥΧονρυѵոսց",
        "aeopcyxijsdhqwlbkmhtABEKMHOPCTYXIJSGQWABEZHIKMNOPTYXovpuvnug",
        strict=True,
    )
)

#: Of so many such characters a message speaks.
_SHOWN = 3


def said(text: str) -> str:
    """`; it has U+0430 CYRILLIC SMALL LETTER A, which looks like 'a'`, of a text with such characters; else nothing."""
    found = [_said(each, like) for each in dict.fromkeys(text) if (like := _like(each)) is not None]
    return f"; it has {', and '.join(found[:_SHOWN])}" if found else ""


def _said(character: str, like: str) -> str:
    named = f"U+{ord(character):04X} {unicodedata.name(character, '')}".rstrip()
    return f"{named}, which {f'looks like {like!r}' if like else 'cannot be seen'}"


def _like(character: str) -> str | None:
    """What of ASCII a character looks like, nothing if it cannot be seen; None if it is of ASCII or looks like none."""
    if character.isascii():
        return None
    if character in _LOOKS:
        return _LOOKS[character]
    category = unicodedata.category(character)
    if category in ("Cf", "Cc"):
        return ""
    if category == "Zs":
        return " "
    if category == "Pd" or character == "\u2212":
        return "--" if character in "\u2014\u2015" else "-"
    if category in ("Pi", "Pf") or character in "\u201a\u201e\u2032\u2033":
        return '"' if character in "\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb" else "'"
    plain = unicodedata.normalize("NFKC", character)
    return plain if plain.isascii() and len(plain) == 1 and plain.isprintable() else None
