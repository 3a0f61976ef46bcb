"""A table of results: as Markdown, as comma-separated values, on the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from launch.escape import markdown, values
from orchestrator import page
from orchestrator.view import escape

#: Shown where there is nothing yet.
MISSING = "-"

#: What a file of comma-separated values holds; None is an empty field.
Value = str | int | float | None


def write_markdown(file: Path, head: Sequence[str], lines: Iterable[Sequence[str]], names: int = 1) -> Path:
    """Write lines whose first cells, so many, are names."""
    rule = [*["---"] * names, *["---:"] * (len(head) - names)]
    rows = [[*map(markdown, head)], rule, *([*map(markdown, line)] for line in lines)]
    page.put(file, "".join(f"| {' | '.join(row)} |\n" for row in rows))
    return file


def write_csv(file: Path, head: Sequence[str], rows: Iterable[Mapping[str, Value]]) -> Path:
    """Write rows by the names of their columns; what a row does not have is empty."""
    lines = ([row.get(name) for name in head] for row in rows)
    page.put(file, values([head, *lines]))
    return file


def show(
    head: Sequence[str], lines: Iterable[Sequence[str]], out: Console, *, names: int = 1, abreast: int | None = None
) -> None:
    """Print lines whose first cells are names; of many columns, `abreast` side by side, and the others below them."""
    lines, columns = list(lines), range(names, len(head))
    width = max(1, abreast or len(columns))
    for first in range(0, len(columns), width):
        chosen = columns[first : first + width]
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in head[:names]:
            table.add_column(escape(name), no_wrap=True)
        for column in chosen:
            table.add_column(escape(head[column]), justify="right", overflow="fold")
        for line in lines:
            table.add_row(*(escape(line[column]) for column in [*range(names), *chosen]))
        out.print(table)
