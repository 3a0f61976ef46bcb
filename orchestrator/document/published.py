"""The paper's tables as they are, to compare with, or in place of a study that does not exist."""

from __future__ import annotations

from orchestrator.document import cells, paper
from orchestrator.document.blocks import Cell, Row, Table


def table(number: int) -> Table:
    """One of tables 1 to 7, with the marks that the paper says it has."""
    found = paper.table(number)
    digits = (3, 3, 1, 1) if number == 1 else (1,) * len(found.head)
    rows: list[Row] = []
    for line in found.lines:
        values = [
            cells.published(v, d) if d == 1 else Cell(f"{v:.{d}f}", "", v)
            for v, d in zip(line.values, digits, strict=True)
        ]
        rows.append(Row([Cell(line.label), *values], name=line.label))
        if line.after:
            after = [*map(cells.published, line.after[:-1]), cells.published(line.after[-1], gain=line.gain)]
            rows.append(Row([Cell("+RL"), *after], "after", f"{line.label}+RL"))
    if number == 2:
        before, after_rl = rows[::2], rows[1::2]
        pairs = zip(cells.marked(before, "first"), cells.marked(after_rl, "best"), strict=True)
        rows = [row for pair in pairs for row in pair]
    elif number > 2:
        rows = cells.marked(rows, "best")
    head = [*found.head] if number == 1 else ["Method", *found.head]
    return Table(
        name=f"published{number}",
        title=f"Table {number} of the paper: {found.title}",
        head=head,
        rows=rows,
        caption="Published values, in percent." if number > 1 else "Published values.",
    )
