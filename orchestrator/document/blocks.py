"""What a document is made of. Everything is text, whatever it contains: how it is written down is no business of these.

A block that is not there yet is a `Missing`: why, and the command that makes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Cell:
    """A number or a word in a table.

    Attributes:
        text: as people read it.
        behind: what stands behind it in small print, such as ±0.6 or (+7.9).
        value, error: as programs read them: not rounded, a share where the text is in percent.
        mark: `best` is the highest of its kind, `first` the highest before RL; the paper prints them bold and
            underlined.
    """

    text: str
    behind: str = ""
    value: float | None = None
    error: float | None = None
    mark: str = ""


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        kind: `paper` for published values, `after` for a row that belongs to the one above it.
        name: what programs call it, where its first cell says less, such as +RL.
    """

    cells: Sequence[Cell]
    kind: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; `name` is that of its files. The first `names` columns are words, the others numbers."""

    name: str
    title: str
    head: Sequence[str]
    rows: Sequence[Row]
    caption: str = ""
    names: int = 1


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure; `name` is that of its files, `alt` what it shows, for who cannot see it.

    Attributes:
        svg, png: the picture; the SVG's ink is `canvas.INK`, which a dark page may replace.
        width: in pixels, at most, on a page.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str
    png: bytes
    width: int


@dataclass(frozen=True)
class Paragraph:
    """Text; `kind` is `lead` for the one sentence that matters most, `note` for small print."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Items:
    """A list of short texts."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Command:
    """A command line to copy."""

    text: str


@dataclass(frozen=True)
class Missing:
    """What is not there, why, and the command that makes it, if one does."""

    what: str
    why: str
    command: str = ""


@dataclass(frozen=True)
class Folded:
    """Blocks that a reader opens."""

    title: str
    blocks: Sequence[Block]


Block = Table | Figure | Paragraph | Items | Command | Missing | Folded


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; `key` is its address in the page."""

    key: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A report. `state` says in a few words how much of the study is done, `partial` whether that is not all of it."""

    title: str
    question: str
    state: str
    partial: bool
    sections: Sequence[Section] = field(default_factory=list)

    def every(self) -> Iterator[Block]:
        """Every block, folded ones too."""
        for section in self.sections:
            yield from _unfolded(section.blocks)

    def tables(self) -> list[Table]:
        return [block for block in self.every() if isinstance(block, Table)]

    def figures(self) -> list[Figure]:
        return [block for block in self.every() if isinstance(block, Figure)]

    def missing(self) -> list[Missing]:
        return [block for block in self.every() if isinstance(block, Missing)]


def _unfolded(blocks: Sequence[Block]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, Folded):
            yield from _unfolded(block.blocks)
