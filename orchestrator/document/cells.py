"""Numbers as cells of a table: in percent, with their errors, the best of them marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.document.blocks import Cell, Row
from orchestrator.report import Score
from orchestrator.tables import MISSING

#: Shown where there is nothing yet, and where there never will be.
NOTHING = Cell("–")


def of_score(score: Score | None, gain: float | None = None) -> Cell:
    """A share in percent: `51.2`, with `±1.3` behind it, `(2/3)` of two of three seeds, `(+7.9)` if a gain."""
    if score is None:
        return NOTHING
    behind = [] if score.error is None else [f"±{100 * score.error:.1f}"]
    behind += [score.partly.strip()] if score.partly else []
    behind += [] if gain is None else [f"({100 * gain:+.1f})"]
    return Cell(f"{100 * score.mean:.1f}", " ".join(behind), score.mean, score.error)


def of_number(score: Score | None, digits: int) -> Cell:
    """A number that is no share."""
    if score is None:
        return NOTHING
    behind = "" if score.error is None else f"±{score.error:.{digits}f}"
    return Cell(f"{score.mean:.{digits}f}", behind, score.mean, score.error)


def published(value: float, digits: int = 1, gain: float | None = None) -> Cell:
    """A number of the paper's, in percent there; programs get a share, as of ours."""
    behind = "" if gain is None else f"({gain:+.1f})"
    return Cell(f"{value:.{digits}f}", behind, value / 100)


def of_text(text: str) -> Cell:
    """A cell of a table that was made elsewhere."""
    return NOTHING if text == MISSING else Cell(text)


def marked(rows: Sequence[Row], mark: str, names: int = 1) -> list[Row]:
    """These rows with the highest number of each column marked, as it is printed: several, if they print the same."""
    tops = []
    for column in range(names, max((len(row.cells) for row in rows), default=0)):
        values = [_printed(row.cells[column]) for row in rows]
        known = [value for value in values if value is not None]
        tops.append(max(known) if len(known) > 1 else None)
    return [
        replace(
            row,
            cells=[
                *row.cells[:names],
                *(
                    replace(cell, mark=mark) if top is not None and _printed(cell) == top else cell
                    for cell, top in zip(row.cells[names:], tops, strict=True)
                ),
            ],
        )
        for row in rows
    ]


def chosen(rows: Sequence[Row], mark: str, leaders: Sequence[str | None], names: int = 1) -> list[Row]:
    """These rows with one cell of each column marked: that of the row of this name, if there is one."""
    return [
        replace(
            row,
            cells=[
                *row.cells[:names],
                *(
                    replace(cell, mark=mark) if leader is not None and leader == row.name else cell
                    for cell, leader in zip(row.cells[names:], leaders, strict=True)
                ),
            ],
        )
        for row in rows
    ]


def _printed(cell: Cell) -> float | None:
    return None if cell.value is None else float(cell.text)
