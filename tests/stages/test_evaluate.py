"""The stage `evaluate`, end to end on a tiny model with transformers generation."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from stages import evaluate
from stages.contract import Context, Input, Interrupted, Resources, StageError
from stages.progress import Progress
from tests import tiny_models

FIELDS = {"question": "{{ prompt }}", "answer": "{{ answer }}"}

#: An evaluation that takes some seconds.
LONG = {"k": 8, "problems": 40, "max_new_tokens": 40}


def config(**chosen: Any) -> evaluate.Config:
    plain: dict[str, Any] = {
        "kind": "math",
        "template": "{{ question }}",
        "k": 4,
        "problems": 5,
        "temperature": 0.6,
        "top_p": 1.0,
        "max_new_tokens": 6,
    }
    return evaluate.Config(**{**plain, "seed": 0, "engine": "transformers", "dtype": "float32", **chosen})


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
    named = ["problem", "id", "sample", "prompt", "gold", "completion", "extracted", "correct", "error"]
    assert table.column_names[:9] == named
    assert [(row["problem"], row["sample"]) for row in table.to_pylist()] == [
        (p, s) for p in range(5) for s in range(4)
    ]
    assert json.loads((tmp_path / "output" / "scores.json").read_text()) == found
    assert list(found)[:6] == ["n", "k", "pass@1", "pass@1_se", "pass@2", "pass@4"]
    rows = pq.read_table(tmp_path / "output" / "problems.parquet").to_pylist()
    assert [(row["problem"], row["id"], row["samples"], row["correct"]) for row in rows] == [
        (p, str(p), 4, 0) for p in range(5)
    ]
    assert (found["n"], found["k"], found["unparsed"]) == (5, 4, 1.0)


def test_the_benchmarks_of_one_job_share_one_engine(tmp_path: Path) -> None:
    shared: dict[Any, Any] = {}
    evaluate.run(config(k=1), context(tmp_path, problems(5), shared))
    [engine] = shared.values()
    (tmp_path / "work" / "completions.jsonl").unlink()  # every node has a work folder of its own
    evaluate.run(config(k=1, problems=3), context(tmp_path, problems(3), shared))
    assert list(shared.values()) == [engine]


def test_another_number_of_problems_than_expected_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="benchmark.jsonl: problems=5: but there are 4 rows"):
        evaluate.run(config(), context(tmp_path, problems(4)))


def test_prompts_beyond_the_context_are_counted_not_cut(tmp_path: Path) -> None:
    rows = [*problems(1), {"prompt": "word " * 200, "answer": "1"}]
    with pytest.raises(StageError, match="1 of 2 prompts do not fit into the model's 128 positions; the longest has"):
        evaluate.run(config(problems=None), context(tmp_path, rows))


def test_gold_answers_that_do_not_parse_are_all_named(tmp_path: Path) -> None:
    rows = [*problems(3), {"prompt": "x", "answer": "\\"}, {"prompt": "y", "answer": ""}]
    with pytest.raises(StageError, match=r"gold answers that do not parse: 3 \('.*'\), 4 \(''\)"):
        evaluate.run(config(), context(tmp_path, rows))


def test_a_stage_that_is_stopped_goes_on_with_the_problems_that_it_had_not_finished(tmp_path: Path) -> None:
    rows = problems(5)
    (tmp_path / "whole").mkdir()
    evaluate.run(config(), context(tmp_path / "whole", rows))
    (tmp_path / "cut").mkdir()
    cut = context(tmp_path / "cut", rows)
    calls = iter([False, True])
    with pytest.raises(Interrupted, match="saved after 2 of 5 problems"):
        evaluate.run(config(), replace(cut, stopping=lambda: next(calls), resources=Resources(per_device_batch=4)))
    kept = (tmp_path / "cut" / "work" / "completions.jsonl").read_text()
    assert kept.count("\n") == 2
    evaluate.run(config(), cut)
    assert (tmp_path / "cut" / "work" / "completions.jsonl").read_text().startswith(kept)
    both = [pq.read_table(tmp_path / name / "output" / "generations.parquet") for name in ("whole", "cut")]
    assert both[0].equals(both[1])


@pytest.mark.slow
def test_a_stage_that_is_killed_keeps_what_it_had_finished(tmp_path: Path) -> None:
    rows = problems(40)
    killed = context(tmp_path, rows)
    file = tmp_path / "work" / "completions.jsonl"
    code = (
        "import sys\nfrom pathlib import Path\nfrom stages import evaluate\n"
        "from tests.stages.test_evaluate import LONG, config, context, problems\n"
        "if __name__ == '__main__':\n"
        "    evaluate.run(config(**LONG), context(Path(sys.argv[1]), problems(40)))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": "."})
    while not (file.exists() and b"\n" in file.read_bytes()):
        assert process.poll() is None
    process.kill()
    process.wait()
    kept = file.read_bytes()
    kept = kept[: kept.rfind(b"\n")]
    assert 0 < kept.count(b"\n") + 1 < 40
    evaluate.run(config(**LONG), killed)
    assert file.read_bytes().startswith(kept)
    assert pq.read_table(tmp_path / "output" / "generations.parquet").num_rows == 320


def test_choices_are_graded_by_letter_and_a_guess_is_no_answer(tmp_path: Path) -> None:
    rows = [{"prompt": row["prompt"], "answer": "A"} for row in tiny_models.arithmetic(40)]
    chosen = context(tmp_path, rows)
    fields = {**FIELDS, "choices": "['x', 'y']"}
    source = replace(chosen.inputs["benchmark"], reading={"fields": fields})
    chosen = replace(chosen, inputs={**chosen.inputs, "benchmark": source})
    given = config(kind="letter", problems=40, k=1, guess=True, max_new_tokens=2)
    found = evaluate.run(given, chosen)
    assert found["unparsed"] == 1.0
    assert 0.2 < found["pass@1"] < 0.8
    assert evaluate.run(given, chosen) == found


def test_worked_examples_come_from_another_source(tmp_path: Path) -> None:
    chosen = context(tmp_path, problems(2))
    examples = tmp_path / "examples.jsonl"
    examples.write_text("".join(json.dumps(row) + "\n" for row in problems(3)))
    shots = Input(fingerprint="s", path=examples, reading={"fields": FIELDS})
    template = "{% for shot in shots %}{{ shot.question }}\n{% endfor %}{{ question }}"
    given = config(problems=2, shots=2, template=template)
    assert evaluate.takes(given) == ("checkpoint", "benchmark", "shots")
    found = evaluate.run(given, replace(chosen, inputs={**chosen.inputs, "shots": shots}))
    assert found["shots"] == 2.0
    first = pq.read_table(tmp_path / "output" / "generations.parquet").to_pylist()[0]
    assert first["prompt"] == "\n".join(row["prompt"] for row in [*problems(2), problems(1)[0]])


def test_what_the_types_cannot_say() -> None:
    assert evaluate.check(config()) == []
    assert evaluate.check(config(temperature=0.0)) == [
        "k: 4 samples at temperature 0 are 4 times the same; k is 1 there"
    ]
    assert evaluate.check(config(shuffle_choices=0)) == ["kind: math has no choices to guess from or to shuffle"]
    assert evaluate.check(config(template="?")) == [
        "template: '?' does not name {{ question }}: all prompts would be equal"
    ]
    with pytest.raises(ValidationError):
        config(k=0)
    with pytest.raises(ValidationError):
        config(kind="essay")
