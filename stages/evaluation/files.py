"""The tables that an evaluation publishes.

`generations.parquet` has a row for each sample, ordered by problem and sample; `problems.parquet` one for each problem.
`problem` and `sample` count from 0; `correct` of a sample is null exactly where `error` is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.evaluation import statistics
from stages.evaluation.kept import Answer
from stages.evaluation.statistics import Sample
from stages.grading.pool import Grade
from stages.problems import Problem

GENERATIONS = pa.schema(
    {
        "problem": pa.int64(),
        "id": pa.string(),
        "sample": pa.int64(),
        "prompt": pa.string(),
        "gold": pa.string(),
        "completion": pa.string(),
        "extracted": pa.string(),
        "correct": pa.bool_(),
        "error": pa.string(),
        "truncated": pa.bool_(),
        "tokens": pa.int64(),
    }
)

#: `samples` of a problem, how many of them are correct, their most frequent answer, and whether that is correct.
PROBLEMS = pa.schema(
    {
        "problem": pa.int64(),
        "id": pa.string(),
        "samples": pa.int64(),
        "correct": pa.int64(),
        "majority": pa.string(),
        "majority_correct": pa.bool_(),
    }
)

#: Rows that are turned into a table together: prompts with worked examples are long.
CHUNK = 4096


def write_generations(
    file: Path,
    problems: Sequence[Problem],
    prompts: Sequence[str],
    answers: Sequence[Sequence[Answer]],
    grades: Sequence[Sequence[Grade]],
) -> None:
    """Write one row for each sample."""
    rows = (
        {
            "problem": number,
            "id": problem.id,
            "sample": sample,
            "prompt": prompts[number],
            "gold": problem.gold,
            "completion": answer.text,
            "extracted": grade.extracted,
            "correct": grade.correct,
            "error": grade.error,
            "truncated": not answer.finished,
            "tokens": answer.tokens,
        }
        for number, problem in enumerate(problems)
        for sample, (answer, grade) in enumerate(zip(answers[number], grades[number], strict=True))
    )
    with pq.ParquetWriter(file, GENERATIONS) as writer:
        for chunk in _chunks(rows):
            writer.write_table(pa.Table.from_pylist(chunk, schema=GENERATIONS))


def write_problems(file: Path, problems: Sequence[Problem], samples: Sequence[Sequence[Sample]]) -> None:
    """Write one row for each problem."""
    rows = [
        {"problem": number, "id": problem.id, **statistics.per_problem(samples[number])}
        for number, problem in enumerate(problems)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=PROBLEMS), file)


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while chunk := [row for _, row in zip(range(CHUNK), rows, strict=False)]:
        yield chunk
