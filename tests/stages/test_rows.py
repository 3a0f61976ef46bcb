"""Rows of a file: which of them a source has."""

import json
from pathlib import Path

import pytest

from stages import rows
from stages.contract import Input, StageError


def source(folder: Path, split: str | None) -> Input:
    """Ten rows, numbered, of which `split` names some."""
    file = folder / "problems.jsonl"
    file.write_text("".join(json.dumps({"number": number}) + "\n" for number in range(10)))
    reading = {"file": None, "config": None, "split": split, "fields": {"prompt": "{number}"}}
    return Input(fingerprint="", path=file, reading=reading)


@pytest.mark.parametrize(
    ("split", "numbers"),
    [(None, range(10)), ("[-3:]", range(7, 10)), ("[:-3]", range(7)), ("[2:4]", range(2, 4)), ("[:]", range(10))],
)
def test_a_part_of_a_file(split: str | None, numbers: range, tmp_path: Path) -> None:
    assert [row["prompt"] for row in rows.load(source(tmp_path, split))] == [str(number) for number in numbers]


def test_a_limit_counts_from_the_start_of_the_part(tmp_path: Path) -> None:
    assert [row["prompt"] for row in rows.load(source(tmp_path, "[-3:]"), limit=2)] == ["7", "8"]


def test_the_last_zero_rows_are_none_and_not_all(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no rows"):
        rows.load(source(tmp_path, "[-0:]"))


def test_a_file_has_no_named_splits(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"split='train': of a file, rows such as \[-32:\]"):
        rows.load(source(tmp_path, "train"))
