"""Columns of an artifact that anybody may have written: of their types and of bounded size, or spoilt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator import answers, parquet, solved
from orchestrator.estimate import Unpaired
from orchestrator.readable import Unreadable
from stages.jsonfile import Spoilt
from tests.orchestrator.test_answers import row

ROWS = [row(0), row(1)]

OTHERS = {
    "lists": {"problem": pa.array([[1], [2]])},
    "nulls": {"problem": pa.array([None, 1])},
    "numbers": {"completion": pa.array([1, 2])},
    "bytes": {"completion": pa.array([b"\xff", b"x"])},
    "texts": {"correct": pa.array(["x", "y"])},
}


@pytest.mark.parametrize("columns", OTHERS.values(), ids=OTHERS)
def test_answers_of_other_types_are_unreadable(tmp_path: Path, columns: dict[str, Any]) -> None:
    table = pa.Table.from_pylist(ROWS)
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, tmp_path / "generations.parquet")
    with pytest.raises(Unreadable, match=f"column {next(iter(columns))} "):
        answers.read(tmp_path)


def test_a_small_file_of_many_rows_or_of_long_texts_is_not_unpacked(tmp_path: Path) -> None:
    columns = {"id": ["x" * 100_000] * 3, "samples": [1] * 3, "correct": [1] * 3}
    pq.write_table(pa.table(columns), tmp_path / "problems.parquet")
    assert len(solved.read(tmp_path)["id"]) == 3
    for limits in ({"rows": 2}, {"size": 50_000}):
        with pytest.raises(Spoilt, match="more than"):
            parquet.check_size(pq.read_metadata(tmp_path / "problems.parquet"), list(columns), **limits)


@pytest.mark.parametrize(("samples", "correct"), [(0, 0), (1, 2), (1, -1)])
def test_more_right_samples_than_samples_are_no_shares(tmp_path: Path, samples: int, correct: int) -> None:
    pq.write_table(pa.table({"id": ["a"], "samples": [samples], "correct": [correct]}), tmp_path / "problems.parquet")
    with pytest.raises(Unpaired, match="more right samples than samples"):
        solved.read(tmp_path)
