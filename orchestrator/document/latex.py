"""A table as LaTeX, with booktabs: the best values bold, the best before RL underlined, errors small."""

from __future__ import annotations

import re

from launch.escape import latex as escaped
from orchestrator.document.blocks import Cell, Row, Table


def render(table: Table) -> str:
    """A `table` environment; it needs booktabs, and amssymb for a check mark."""
    title = re.sub(r"^Table \d: ", "", table.title)  # LaTeX counts by itself
    columns = "l" * table.names + "r" * (len(table.head) - table.names)
    lines = [
        "% needs \\usepackage{booktabs,amssymb}",
        "\\begin{table}",
        "  \\centering\\small",
        f"  \\caption{{{escaped(f'{title}. {table.caption}'.strip())}}}",
        f"  \\label{{tab:{table.name.replace('_', '-')}}}",
        f"  \\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        "    \\toprule",
        f"    {' & '.join(map(escaped, table.head))} \\\\",
        "    \\midrule",
        *(f"    {_row(row)} \\\\" for row in table.rows),
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(row: Row) -> str:
    first, *others = row.cells
    lead = (
        r"\quad " if row.kind == "after" else "{}" if first.text[:1] in ("[", "*") else ""
    )  # \\[ and \\* are commands
    cells = [lead + _cell(first), *map(_cell, others)]
    return " & ".join(rf"\textit{{{cell}}}" if row.kind == "paper" else cell for cell in cells)


def _cell(cell: Cell) -> str:
    text = escaped(cell.text)
    if cell.mark == "best":
        text = rf"\textbf{{{text}}}"
    elif cell.mark == "first":
        text = rf"\underline{{{text}}}"
    return rf"{text} {{\scriptsize {escaped(cell.behind)}}}" if cell.behind else text
