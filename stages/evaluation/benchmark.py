"""One benchmark of one checkpoint: generate, grade, write the generations and the scores."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from stages import problems as problem_set
from stages import rows
from stages.contract import Context, Interrupted, StageError
from stages.evaluate import Config
from stages.evaluation import files, prompting, statistics
from stages.evaluation.kept import Answer, Kept
from stages.evaluation.prompting import Prompt
from stages.evaluation.statistics import Sample
from stages.generation import engine as engines
from stages.generation.engine import Engine, Sampling
from stages.grading.pool import Grade, Graders, Pending, check_errors
from stages.modeling.checkpoint import load_tokenizer
from stages.problems import Problem


def run(config: Config, context: Context) -> dict[str, Any]:
    """Evaluate and write; returns the scores."""
    with Graders(context.resources.graders) as graders:
        problems, examples = _load(config, context, graders)  # first: a wrong benchmark is not worth an engine
        engine = _engine(config, context)
        tokenizer = load_tokenizer(context.inputs["checkpoint"])
        prompts = prompting.prompts_of(problems, examples, config, tokenizer, engine.positions)
        kept = Kept(context.work / "completions.jsonl")
        try:
            grades = _grade(problems, _answers(prompts, engine, kept, config, context), config, graders)
        finally:
            kept.close()
    answers = [kept.answers[number] for number in range(len(problems))]
    samples = [[_sample(*pair) for pair in zip(*both, strict=True)] for both in zip(answers, grades, strict=True)]
    texts = [prompt.text for prompt in prompts]
    files.write_generations(context.output / "generations.parquet", problems, texts, answers, grades)
    files.write_problems(context.output / "problems.parquet", problems, samples)
    scores = statistics.scores(samples)
    if config.shots:
        scores["shots"] = sum(prompt.shots for prompt in prompts) / len(prompts)
    (context.output / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")
    check_errors(list(chain.from_iterable(grades)))
    return scores


def _load(config: Config, context: Context, graders: Graders) -> tuple[list[Problem], list[rows.Row]]:
    """The problems, checked, and the worked examples."""
    source = context.inputs["benchmark"]
    try:
        problems = problem_set.read(
            rows.load(source), kind=config.kind, expected=config.problems, shuffle=config.shuffle_choices
        )
    except StageError as error:
        raise StageError(f"{source.path or source.hub}: {error}") from None
    unreadable = graders.unreadable(config.kind, [problem.gold for problem in problems])
    if unreadable:
        named = [f"{problems[number].id} ({problems[number].gold!r})" for number in sorted(unreadable)]
        raise StageError(f"{source.path or source.hub}: gold answers that do not parse: {', '.join(named)}")
    if config.guess and any(problem.choices is None for problem in problems):
        raise StageError("guess: its rows have no choices to guess from; give the benchmark's data a field choices")
    return problems, rows.load(context.inputs["shots"]) if config.shots else []


def _engine(config: Config, context: Context) -> Engine:
    """The engine of the checkpoint, which all benchmarks of this job share."""
    source = context.inputs["checkpoint"]
    engine: Engine = context.share(
        ("engine", source.fingerprint, config.engine, config.dtype),
        lambda: engines.load(source, engine=config.engine, dtype=config.dtype, resources=context.resources),
    )
    return engine


def _answers(
    prompts: Sequence[Prompt], engine: Engine, kept: Kept, config: Config, context: Context
) -> Iterator[tuple[int, list[Answer]]]:
    """The answers to every prompt, by its number: those that are kept, then the others as they are done.

    Raises:
        Interrupted: the stage was asked to stop; what was done is kept.
    """
    done = len(kept.answers)
    if lost := context.saved.lost(done or None):
        raise StageError(lost)
    yield from list(kept.answers.items())
    missing = [number for number in range(len(prompts)) if number not in kept.answers]
    sampling = Sampling(
        n=config.k,
        temperature=config.temperature,
        top_p=config.top_p,
        max_new_tokens=config.max_new_tokens,
        stop=tuple(config.stop),
        seed=config.seed,
    )
    context.progress.update(done, len(prompts))
    for place, completions in engine.stream([prompts[number].ids for number in missing], sampling):
        yield missing[place], kept.add(missing[place], completions)
        done += 1
        context.progress.update(done, len(prompts))
        if context.stopping() and done < len(prompts):
            context.saved.record(done)
            raise Interrupted(f"saved after {done} of {len(prompts)} problems")


def _grade(
    problems: Sequence[Problem], answers: Iterator[tuple[int, list[Answer]]], config: Config, graders: Graders
) -> list[list[Grade]]:
    """The grades of every problem's samples. The workers grade while the engine generates."""
    pending: dict[int, list[Pending]] = {}
    for number, group in answers:
        problem = problems[number]
        pending[number] = [graders.submit(config.kind, problem.gold, answer.text, problem.choices) for answer in group]
    grades = [[each.result() for each in pending[number]] for number in range(len(problems))]
    return [_guessed(*pair, config) for pair in zip(problems, grades, strict=True)] if config.guess else grades


def _guessed(problem: Problem, grades: Sequence[Grade], config: Config) -> list[Grade]:
    """Where no letter was found, the verdict of a random one; it depends on the seed, the problem and the sample."""
    letters = problem_set.letters(problem.choices or [])
    drawn = [random.Random(f"{config.seed}:{problem.id}:{sample}").choice(letters) for sample in range(len(grades))]
    return [
        replace(grade, correct=letter == problem.gold) if grade.extracted is None and grade.error is None else grade
        for grade, letter in zip(grades, drawn, strict=True)
    ]


def _sample(answer: Answer, grade: Grade) -> Sample:
    return Sample(extracted=grade.extracted, correct=grade.correct, truncated=not answer.finished, tokens=answer.tokens)
