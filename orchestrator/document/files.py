"""The files of a report: report.html, report.md, tables/ and figures/. Each is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from launch.escape import values
from orchestrator import page
from orchestrator.document import html, latex, markdown
from orchestrator.document.blocks import Document, Table
from stages import listing

#: The folders that are this module's: what else lies in them is of an earlier report, and removed.
FOLDERS = ("tables", "figures")

#: The page, which is written last.
PAGE = "report.html"


def write(document: Document, folder: Path) -> list[Path]:
    """Write all files of a report below `folder`; the page first in the list, and last on the disk."""
    made: list[Path] = []
    again = (folder / PAGE).is_file()  # else what lies there is somebody's: a config says where reports go
    for name, text in _parts(document):
        made.append(_put(folder / name, text))
    for part in FOLDERS if again else ():
        for file in listing.files(folder / part, "*"):
            if file not in made:
                file.unlink()
    made.append(_put(folder / "report.md", markdown.render(document).encode()))
    return [_put(folder / PAGE, html.render(document).encode()), *made]


def _parts(document: Document) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files of tables and figures."""
    for table in document.tables():
        yield f"tables/{table.name}.csv", _values(table).encode(errors="backslashreplace")
        yield f"tables/{table.name}.tex", latex.render(table).encode()
        yield f"tables/{table.name}.md", markdown.table(table).encode()
    for figure in document.figures():
        yield f"figures/{figure.name}.svg", figure.svg.encode()
        yield f"figures/{figure.name}.png", figure.png


def _values(table: Table) -> str:
    """A table for programs: numbers as they are, shares from 0 to 1, an error in a column of its own.

    A number without a value, such as one of a table that was made elsewhere, is its text.
    """
    erring = {n for row in table.rows for n, cell in enumerate(row.cells) if cell.error is not None}
    lines: list[list[str | float | None]] = [
        [name for n, head in enumerate(table.head) for name in (head, f"{head} se")[: 1 + (n in erring)]]
    ]
    for row in table.rows:
        line: list[str | float | None] = []
        for n, cell in enumerate(row.cells):
            shown = row.name if n == 0 and row.name else f"{cell.text} {cell.behind}".strip()
            line.append(cell.value if cell.value is not None else None if cell.text == "–" else shown)
            line += [cell.error] if n in erring else []
        lines.append(line)
    return values(lines)


def _put(file: Path, content: bytes) -> Path:
    page.put(file, content)
    return file
