"""Numbers in cells."""

from __future__ import annotations

from orchestrator.document import cells
from orchestrator.document.blocks import Cell, Row
from orchestrator.report import Score


def test_a_share_is_in_percent_with_its_error_and_its_gain() -> None:
    found = cells.of_score(Score(0.512, 0.0123), gain=0.079)
    assert (found.text, found.behind, found.value, found.error) == ("51.2", "±1.2 (+7.9)", 0.512, 0.0123)


def test_the_highest_as_printed_are_marked_and_nothing_where_there_is_no_other() -> None:
    values = [(0.5001, 0.1), (0.4999, None), (0.2, None)]
    rows = [Row([Cell("x"), *(cells.of_score(None if v is None else Score(v)) for v in pair)]) for pair in values]
    marked = cells.marked(rows, "best")
    assert [row.cells[1].mark for row in marked] == ["best", "best", ""]  # both print as 50.0
    assert [row.cells[2].mark for row in marked] == ["", "", ""]


def test_a_cell_of_another_table_that_is_missing_is_missing() -> None:
    assert cells.of_text("-") == cells.NOTHING
