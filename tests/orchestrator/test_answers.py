"""What an evaluation published, read back: what went wrong first, and earlier versions too."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator import answers
from orchestrator.refusal import ConfigError


def row(problem: int, sample: int = 0, **known: Any) -> dict[str, Any]:
    """A row of generations.parquet: a right answer."""
    plain = {"problem": problem, "id": f"p{problem}", "sample": sample, "prompt": f"Q{problem}", "gold": "1"}
    graded = {"completion": "It is 1.", "extracted": "1", "correct": True, "error": None}
    return {**plain, **graded, "truncated": False, "tokens": 4, **known}


WRONG = {"completion": "It is 2.", "extracted": "2", "correct": False}
UNPARSED = {"completion": "Hm", "extracted": None, "correct": False}
ERROR = {"completion": "9^9^9^9", "extracted": "9^9^9^9", "correct": None, "error": "timeout"}


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "generations.parquet")
    return folder


def test_what_went_wrong_comes_first_among_problems_and_among_samples(tmp_path: Path) -> None:
    rows = [
        *(row(0), row(0, 1)),
        *(row(1), row(1, 1, **UNPARSED)),
        *(row(2, **ERROR), row(2, 1)),
        *(row(3), row(3, 1, **ERROR), row(3, 2, **WRONG)),
        *(row(4, **WRONG), row(4, 1, **WRONG)),
    ]
    found = answers.read(write(tmp_path, rows))
    assert [problem.number for problem in found] == [3, 4, 2, 1, 0]
    assert [[(each.sample, each.verdict) for each in problem.answers] for problem in found] == [
        [(2, "wrong"), (1, "error"), (0, "right")],
        [(0, "wrong"), (1, "wrong")],
        [(0, "error"), (1, "right")],
        [(1, "unparsed"), (0, "right")],
        [(0, "right"), (1, "right")],
    ]
    assert [problem.wrong for problem in found] == [True, True, False, True, False]
    assert [problem.right for problem in found] == [1, 0, 1, 1, 2]


def test_counts_are_of_samples(tmp_path: Path) -> None:
    rows = [row(0, **WRONG, truncated=True), row(0, 1), row(1, **ERROR), row(1, 1, **UNPARSED, truncated=True)]
    assert answers.counts(answers.read(write(tmp_path, rows))) == {
        "problems": 2,
        "samples": 4,
        "wrong": 1,
        "error": 1,
        "unparsed": 1,
        "right": 1,
        "truncated": 2,
    }


def test_an_artifact_of_an_earlier_version_says_less(tmp_path: Path) -> None:
    later = ("id", "gold", "truncated", "tokens")
    rows = [{name: value for name, value in row(7).items() if name not in later}]
    (problem,) = answers.read(write(tmp_path, rows))
    assert (problem.id, problem.gold) == ("7", None)
    assert (problem.answers[0].truncated, problem.answers[0].tokens) == (None, None)


def test_an_artifact_with_other_columns_is_refused(tmp_path: Path) -> None:
    rows = [{"problem": 0, "sample": 0, "prompt": "Q"}]
    with pytest.raises(ConfigError) as error:
        answers.read(write(tmp_path, rows))
    has = "no column completion, extracted, correct, error; it has problem, sample, prompt"
    assert error.value.messages == [f"{tmp_path}/generations.parquet: {has}"]
