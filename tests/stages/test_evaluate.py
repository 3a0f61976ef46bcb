"""The stage `evaluate`, end to end on a tiny model with transformers generation."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from stages import evaluate
from stages.contract import Context, Input, Resources, StageError
from stages.evaluation.benchmark import scores
from stages.generation.engine import Completion
from stages.grading.pool import Grade
from stages.progress import Progress
from tests import tiny_models

FIELDS = {"prompt": "{{ prompt }}", "answer": "{{ answer }}"}


def config(**chosen: Any) -> evaluate.Config:
    plain = {"kind": "math", "k": 4, "problems": 5, "temperature": 0.6, "top_p": 1.0, "max_new_tokens": 6, "seed": 0}
    return evaluate.Config(**{**plain, "engine": "transformers", "dtype": "float32", **chosen})


def context(folder: Path, rows: list[dict[str, str]], shared: dict[Any, Any] | None = None) -> Context:
    """A context whose benchmark is `rows`; the model is made once."""
    if not (folder / "model").exists():
        tiny_models.base(folder / "model")
    file = folder / "benchmark.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("work", "output"):
        (folder / name).mkdir(exist_ok=True)
    inputs = {
        "checkpoint": tiny_models.source(folder / "model"),
        "benchmark": Input(fingerprint="b", path=file, reading={"fields": FIELDS}),
    }
    return Context(
        inputs=inputs,
        work=folder / "work",
        output=folder / "output",
        resources=Resources(),
        progress=Progress(folder / "progress.json"),
        shared={} if shared is None else shared,
    )


def problems(count: int) -> list[dict[str, str]]:
    return [{"prompt": row["prompt"], "answer": "1"} for row in tiny_models.arithmetic(count)]


def test_it_writes_every_sample_and_the_scores(tmp_path: Path) -> None:
    found = evaluate.run(config(), context(tmp_path, problems(5)))
    table = pq.read_table(tmp_path / "output" / "generations.parquet")
    assert table.column_names[:7] == ["problem", "sample", "prompt", "completion", "extracted", "correct", "error"]
    assert [(row["problem"], row["sample"]) for row in table.to_pylist()] == [
        (p, s) for p in range(5) for s in range(4)
    ]
    assert json.loads((tmp_path / "output" / "scores.json").read_text()) == found
    assert list(found)[:6] == ["n", "k", "pass@1", "pass@1_se", "pass@2", "pass@4"]
    assert (found["n"], found["k"], found["unparsed"]) == (5, 4, 1.0)


def test_the_benchmarks_of_one_job_share_one_engine(tmp_path: Path) -> None:
    shared: dict[Any, Any] = {}
    evaluate.run(config(k=1), context(tmp_path, problems(5), shared))
    [engine] = shared.values()
    evaluate.run(config(k=1, problems=3), context(tmp_path, problems(3), shared))
    assert list(shared.values()) == [engine]


def test_another_number_of_problems_than_expected_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="benchmark.jsonl has 4 rows, expected 5"):
        evaluate.run(config(), context(tmp_path, problems(4)))


def test_prompts_beyond_the_context_are_counted_not_cut(tmp_path: Path) -> None:
    rows = [*problems(1), {"prompt": "word " * 200, "answer": "1"}]
    with pytest.raises(StageError, match="1 of 2 prompts do not fit into the model's 128 positions; the longest has"):
        evaluate.run(config(problems=None), context(tmp_path, rows))


def test_an_error_counts_as_wrong_and_is_shown() -> None:
    completions = [[Completion([1, 2], "x", True), Completion([1], "y", False)]]
    found = scores(completions, [Grade("1", True), Grade("2", None, "timeout")])
    assert found == {
        "n": 1,
        "k": 2,
        "pass@1": 0.5,
        "pass@1_se": 0.0,
        "pass@2": 1.0,
        "unparsed": 0.0,
        "errors": 0.5,
        "truncated": 0.5,
        "mean_tokens": 1.5,
    }


def test_what_the_types_cannot_say() -> None:
    assert evaluate.check(config()) == []
    assert evaluate.check(config(temperature=0.0)) == [
        "k: 4 samples at temperature 0 are 4 times the same; k is 1 there"
    ]
    with pytest.raises(ValidationError):
        config(k=0)
    with pytest.raises(ValidationError):
        config(kind="essay")
