"""One benchmark of one checkpoint: generate, grade, write the generations and the scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages import rows
from stages.contract import Context, Input, StageError
from stages.data.tokens import prompt_ids
from stages.evaluate import Config
from stages.evaluation import statistics
from stages.generation import engine as engines
from stages.generation.engine import Completion, Engine, Sampling
from stages.grading.pool import Grade, Graders, check_errors
from stages.modeling.checkpoint import load_tokenizer

Row = dict[str, str]

#: Columns of `generations.parquet`; `problem` and `sample` count from 0, `correct` is null where `error` is not.
COLUMNS = pa.schema(
    {
        "problem": pa.int64(),
        "sample": pa.int64(),
        "prompt": pa.string(),
        "completion": pa.string(),
        "extracted": pa.string(),
        "correct": pa.bool_(),
        "error": pa.string(),
        "truncated": pa.bool_(),
        "tokens": pa.int64(),
    }
)

#: Completions between two reports of progress: enough to keep an engine busy.
CHUNK = 2048


def run(config: Config, context: Context) -> dict[str, Any]:
    """Evaluate and write; returns the scores."""
    problems = _problems(context.inputs["benchmark"], config.problems)
    completions = _generate(problems, config, context)
    with Graders(context.resources.graders) as graders:
        answers = [(row["answer"], c.text) for row, group in zip(problems, completions, strict=True) for c in group]
        grades = graders.grade(config.kind, answers)
    table = pa.Table.from_pylist(list(_generations(problems, completions, grades)), schema=COLUMNS)
    pq.write_table(table, context.output / "generations.parquet")
    found = scores(completions, grades)
    (context.output / "scores.json").write_text(json.dumps(found, indent=1) + "\n")
    check_errors(grades)
    return found


def scores(completions: Sequence[Sequence[Completion]], grades: Sequence[Grade]) -> dict[str, Any]:
    """The numbers of `scores.json`; an error counts as wrong. `grades` are those of all completions in their order."""
    k = len(completions[0])
    correct = [[grade.correct is True for grade in grades[i : i + k]] for i in range(0, len(grades), k)]
    every = [completion for group in completions for completion in group]
    mean, error = statistics.pass_at_1(correct)
    return {
        "n": len(completions),
        "k": k,
        "pass@1": mean,
        "pass@1_se": error,
        **{f"pass@{i}": statistics.pass_at_k(correct, i) for i in statistics.powers_of_two(k) if i > 1},
        "unparsed": _share(grade.extracted is None for grade in grades),
        "errors": _share(grade.error is not None for grade in grades),
        "truncated": _share(not completion.finished for completion in every),
        "mean_tokens": sum(len(completion.token_ids) for completion in every) / len(every),
    }


def _problems(source: Input, expected: int | None) -> list[Row]:
    problems = rows.load(source)
    if expected is not None and len(problems) != expected:
        raise StageError(f"problems: {source.path or source.hub} has {len(problems)} rows, expected {expected}")
    return problems


def _generate(problems: Sequence[Row], config: Config, context: Context) -> list[list[Completion]]:
    """`config.k` completions per problem."""
    source = context.inputs["checkpoint"]
    tokenizer = load_tokenizer(source)
    prompts = [prompt_ids(tokenizer, row["prompt"]) for row in problems]
    engine: Engine = context.share(
        ("engine", source.fingerprint, config.engine, config.dtype),
        lambda: engines.load(source, engine=config.engine, dtype=config.dtype, resources=context.resources),
    )
    _check_lengths(prompts, engine.positions)
    sampling = Sampling(
        n=config.k,
        temperature=config.temperature,
        top_p=config.top_p,
        max_new_tokens=config.max_new_tokens,
        stop=tuple(config.stop),
        seed=config.seed,
    )
    done: list[list[Completion]] = []
    for chunk in _chunks(prompts, max(1, CHUNK // config.k)):
        done += engine.generate(chunk, sampling)
        context.progress.update(len(done), len(prompts))
    return done


def _check_lengths(prompts: Sequence[list[int]], positions: int) -> None:
    """A prompt must leave room for one token; it is never cut."""
    long = [len(prompt) for prompt in prompts if len(prompt) >= positions]
    if long:
        raise StageError(
            f"{len(long)} of {len(prompts)} prompts do not fit into the model's {positions} positions; "
            f"the longest has {max(long)} tokens"
        )


def _generations(
    problems: Sequence[Row], completions: Sequence[Sequence[Completion]], grades: Sequence[Grade]
) -> Iterator[dict[str, Any]]:
    remaining = iter(grades)
    for problem, (row, group) in enumerate(zip(problems, completions, strict=True)):
        for sample, completion in enumerate(group):
            grade = next(remaining)
            yield {
                "problem": problem,
                "sample": sample,
                "prompt": row["prompt"],
                "completion": completion.text,
                "extracted": grade.extracted,
                "correct": grade.correct,
                "error": grade.error,
                "truncated": not completion.finished,
                "tokens": len(completion.token_ids),
            }


def _chunks(prompts: Sequence[list[int]], size: int) -> Iterator[Sequence[list[int]]]:
    return (prompts[start : start + size] for start in range(0, len(prompts), size))


def _share(flags: Any) -> float:
    values = list(flags)
    return sum(values) / len(values)
