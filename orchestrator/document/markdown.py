"""A document as Markdown: for a repository, an issue, a terminal. Every text is escaped; no text becomes markup."""

from __future__ import annotations

from collections.abc import Iterator

from launch.escape import inline
from launch.escape import markdown as escaped
from orchestrator.document.blocks import (
    Block,
    Cell,
    Command,
    Document,
    Figure,
    Folded,
    Items,
    Missing,
    Paragraph,
    Table,
)


def render(document: Document) -> str:
    """The document; figures are links to files in figures/."""
    lines = [f"# {escaped(document.title)}", ""]
    if document.question:
        lines += [escaped(document.question), ""]
    lines += [f"*{escaped(document.state)}*", ""]
    for section in document.sections:
        lines += [f"## {escaped(section.title)}", ""]
        for block in section.blocks:
            lines += _block(block)
    return "\n".join(lines).rstrip("\n") + "\n"


def table(found: Table) -> str:
    """A table alone."""
    rule = [*["---"] * found.names, *["---:"] * (len(found.head) - found.names)]
    rows = [[*map(escaped, found.head)], rule, *([*map(_cell, row.cells)] for row in found.rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _block(block: Block) -> Iterator[str]:
    """Its lines, an empty one last."""
    match block:
        case Folded(title=title, blocks=blocks):
            yield from (f"**{escaped(title)}**", "")
            for each in blocks:
                yield from _block(each)
            return
        case Table():
            yield from (f"**{escaped(block.title)}**", "", table(block), escaped(block.caption))
        case Figure():
            yield from (f"![{escaped(block.alt)}](figures/{block.name}.svg)", "")
            yield f"**{escaped(block.title)}.** {escaped(block.caption)}"
        case _:
            yield from _text(block)
    yield ""


def _text(block: Paragraph | Items | Command | Missing) -> Iterator[str]:
    match block:
        case Paragraph(text=text, kind=kind):
            yield f"**{escaped(text)}**" if kind == "lead" else escaped(text)
        case Items(texts=texts):
            yield from (f"- {escaped(text)}" for text in texts)
        case Command(text=text):
            yield _code(text)
        case Missing(what=what, why=why, command=command):
            yield f"**Missing: {escaped(what)}.** {escaped(why)}"
            if command:
                yield from ("", _code(command))


def _code(text: str) -> str:
    """A line of code, indented: no text ends it."""
    return f"    {inline(text)}"


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    shown = f"**{text}**" if cell.mark == "best" else f"<u>{text}</u>" if cell.mark == "first" else text
    return f"{shown} {escaped(cell.behind)}".rstrip()
