"""Escapes: a text of others as one format after the other takes it, so that nothing of it does anything there.

A function for each format: `visible` and `inline` for a terminal, `markdown`, `latex`, `cell` for comma-separated
values, `message` for what a webhook hands to a chat. HTML is escaped by the templates, and shown by `visible`.
"""

from __future__ import annotations

import csv
import html
import io
import re
import unicodedata
from collections.abc import Iterable

#: What Markdown, or HTML in it, would read as markup; a `_` between letters or digits is none.
_MARKDOWN = re.compile(r"([\\`*{}\[\]|#~$]|(?<![^\W_])_|_(?![^\W_]))")

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    "→": r"$\to$",
    "α": r"$\alpha$",
    "ρ": r"$\rho$",
    "τ": r"$\tau$",
    "×": r"$\times$",
    "✓": r"$\checkmark$",
    "✗": r"$\times$",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
}

#: What a spreadsheet takes for the beginning of a formula, in the widths that East Asian ones read too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")

#: A mention as chats read one: an @ that ends no word and begins one; and the middle of a link with words of its own.
_MENTION = re.compile(r"(?<![\w@])@(?=\w)")
_LINK = re.compile(r"\](?=[(\[])")
#: Stands between the two: seen by nobody, and read by every chat as a letter of no name.
_BREAK = "\u200b"


def seen(character: str) -> bool:
    """Whether a character is ink or a space: none that controls, directs or separates."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def visible(text: str) -> str:
    """A text whose control and other invisible characters are shown: `visible("\\x1b[1m")` is `"<U+001B>[1m"`.

    Tabs and the ends of lines stay.
    """
    return "\n".join(line if line.isprintable() else "".join(map(_shown, line)) for line in text.split("\n"))


def inline(text: str) -> str:
    """A text on one line."""
    return visible(text).replace("\n", "<U+000A>").replace("\t", "<U+0009>")


def markdown(text: str) -> str:
    """A text on one line, of which nothing is markup."""
    return _MARKDOWN.sub(r"\\\1", html.escape(inline(" ".join(text.split("\n"))), quote=False))


def latex(text: str) -> str:
    """A text of which nothing is a command."""
    return "".join(_LATEX.get(each, each) for each in inline(text))


def cell(value: str | int | float | None) -> str | int | float | None:
    """A value of a file of comma-separated values: what a spreadsheet would take for a formula gets a `'` before it.

    Numbers stay, also those that are texts, and so do dashes alone.
    """
    if not isinstance(value, str):
        return value
    text = visible(value)
    if not text.startswith(_FORMULA) or not text.strip("-"):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def values(rows: Iterable[Iterable[str | int | float | None]]) -> str:
    """Rows as comma-separated values."""
    stream = io.StringIO(newline="")
    csv.writer(stream).writerows([cell(value) for value in row] for row in rows)
    return stream.getvalue()


def message(text: str) -> str:
    """A text of a chat, in which nothing is a link with words of its own, and nothing calls anybody."""
    plain = "".join(each if each.isprintable() else " " for each in text)
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LINK.sub(f"]{_BREAK}", _MENTION.sub(f"@{_BREAK}", plain))


def _shown(character: str) -> str:
    """A character, or its number if nobody sees it."""
    return character if seen(character) or character == "\t" else f"<U+{ord(character):04X}>"
