"""The published tables: each average is that of its row, or is listed as one that is not."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import pytest
import yaml

from orchestrator.document import paper

DATA = yaml.safe_load((paper._FILE).read_text(encoding="utf-8"))

#: What is rounded to a digit may be off by so much.
HALF = Fraction(1, 20)


def rows(table: int) -> Iterator[tuple[str, list[float]]]:
    for line in paper.table(table).lines:
        yield line.label, list(line.values)
        if line.after:
            yield f"{line.label}+RL", list(line.after)


def exact(values: list[float]) -> list[Fraction]:
    return [Fraction(str(value)) for value in values]


def off(table: int) -> Iterator[tuple[str, str, str, float, float]]:
    """The averages that are not those of their cells to the last digit: where, as published, as computed."""
    for label, values in rows(table):
        head = paper.table(table).head
        at = head.index("ID Avg.")
        spans = {"ID Avg.": values[:at], "OOD Avg.": values[at + 1 : -2], "Avg.": [values[at], values[-2]]}
        for name, cells in spans.items():
            said = Fraction(str(values[head.index(name)]))
            mean = sum(exact(cells)) / len(cells)
            assert abs(mean - said) <= 2 * HALF, f"table {table}, {label}, {name}"  # cells are rounded, too
            if abs(mean - said) > HALF:
                yield f"table{table}", label, name, float(said), round(float(mean), 2)


def test_every_average_is_that_of_its_row_but_for_those_that_are_listed() -> None:
    found = [[*each] for table in range(2, 8) for each in off(table)]
    assert found == DATA["off_by_rounding"]


def test_every_gain_is_that_of_the_averages() -> None:
    for line in paper.table(2).lines:
        assert line.gain == pytest.approx(line.after[-1] - line.values[-1])


@pytest.mark.parametrize("table", range(1, 8))
def test_every_row_has_every_column(table: int) -> None:
    head = paper.table(table).head
    assert {len(values) for _, values in rows(table)} == {len(head) - (table == 1)}


def test_one_run_that_stands_in_several_tables_has_one_value_but_for_what_is_listed() -> None:
    same = {"Rejuvenation": (4, "Rejuvenation"), "1%": (6, "1%"), "OverSFT+Rejuvenation": (7, "OverSFT+Rejuvenation")}
    reference = dict(rows(2))["Rejuvenation+RL"]
    head = paper.table(2).head
    differing = {
        (name, reference[at], value, table)
        for table, label in same.values()
        for at, (name, value) in enumerate(zip(head, dict(rows(table))[label], strict=True))
        if value != reference[at]
    }
    assert differing == {(cell, one, other, 7) for _, cell, one, _, other, _ in DATA["contradictory"]}
    assert dict(rows(5))["0.5"] == dict(rows(4))["OverSFT w/ Fusion"]
    assert dict(rows(7))["ModSFT"] == dict(rows(2))["ModSFT+RL"]
    assert dict(rows(4))["OverSFT"] == dict(rows(2))["OverSFT+RL"]


@pytest.mark.parametrize(
    ("row", "names"),
    [
        ("OverSFT", ["OverSFT", "SFT-32"]),
        ("OverSFT+RL", ["OverSFT+RL", "SFT-32+RL"]),
        ("ModSFT+Rejuvenation+RL", ["ModSFT+Rejuvenation+RL", "SFT-2+Rejuvenation+RL"]),
        ("Rejuvenation", ["Rejuvenation", "SFT-32+Rejuvenation"]),
        ("RandomReset+RL", ["RandomReset+RL"]),
    ],
)
def test_a_row_of_the_paper_has_the_names_that_mean_it(row: str, names: list[str]) -> None:
    assert paper.same(row) == names


@pytest.mark.parametrize(
    ("column", "of"),
    [
        ("math500", {"MATH"}),
        ("ID avg", {"GSM8K", "MATH", "AMC23", "Miner.", "Olymp."}),
        ("OOD avg", {"GPQA", "ARC", "MMLU"}),
        ("avg", {"GSM8K", "MATH", "AMC23", "Miner.", "Olymp.", "GPQA", "ARC", "MMLU"}),
        ("tiny_sums", set()),
    ],
)
def test_a_column_of_the_paper_is_of_its_benchmarks(column: str, of: set[str]) -> None:
    assert paper.benchmarks(column) == of
