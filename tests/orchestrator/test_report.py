"""The result table: the paper's averages with propagated errors."""

import csv
from pathlib import Path

import pytest

from orchestrator.report import Score, Table, average, write


def test_an_average_is_unweighted_and_its_error_propagated() -> None:
    found = average([Score(0.2, 0.03), Score(0.4, 0.04)])
    assert found is not None
    assert (found.mean, found.error) == (pytest.approx(0.3), pytest.approx(0.025))  # sqrt(0.03**2 + 0.04**2) / 2


def test_an_average_over_something_missing_is_missing() -> None:
    assert average([Score(0.2, 0.03), None]) is None
    assert average([]) is None


def test_the_table_is_written_for_people_and_for_programs(tmp_path: Path) -> None:
    table = Table(["sums", "ID avg"], {"ModSFT": [Score(0.512, 0.0123), None]})
    markdown, comma_separated = write(table, tmp_path)
    assert markdown.read_text() == "| variant | sums | ID avg |\n| --- | ---: | ---: |\n| ModSFT | 51.2 ±1.2 | - |\n"
    with comma_separated.open() as stream:
        assert list(csv.DictReader(stream)) == [
            {"variant": "ModSFT", "sums": "0.512", "sums se": "0.0123", "ID avg": "", "ID avg se": ""}
        ]
