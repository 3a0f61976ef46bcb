"""Stage `evaluate`: generate answers to the problems of one benchmark, grade them, and count.

It publishes `generations.parquet` (a row for each sample) and `problems.parquet` (a row for each problem), with the
columns of `stages.evaluation.files`, and `scores.json`, the numbers of `stages.evaluation.statistics.scores`.

All benchmarks of one checkpoint can run in one job, which then loads one engine. What was generated is kept while the
stage runs: one that was killed goes on with the problems that it had not finished.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages import prompts
from stages.contract import Context, Seed

VERSION = 2
MAKES = ("evaluation",)
SHARES = ("checkpoint",)
SAVES = True

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """How one benchmark is sampled and graded (paper, appendix B "Evaluation Details").

    Attributes:
        kind: how an answer is read: math (the last boxed expression, compared by Math-Verify), or the letter of a
            choice: letter (in the last box, else as stated last), mmlu_pro, gpqa (their authors' extraction), arc.
        template: Jinja text of the prompt over `question`, `choices` and their `letters`, `shots` (each with the same),
            and any other field of the benchmark's rows.
        k: samples per problem.
        problems: rows that the benchmark must have; null for any number.
        temperature: 0 is greedy.
        top_p: probability mass to sample from.
        max_new_tokens: tokens of a completion.
        stop: strings that end a completion.
        shots: worked examples before the question, of its category if it has one; fewer where a prompt would leave no
            room for max_new_tokens.
        shuffle_choices: seed of the order of the choices, which depends on the question too; null for the rows' order.
        guess: where no letter is found, a random one stands in, as in MMLU-Pro's scripts; it counts as unparsed still.
        seed: of the samples.
        engine: what generates.
        dtype: what the engine computes in.
    """

    kind: Literal["math", "letter", "mmlu_pro", "gpqa", "arc"]
    template: str
    k: Count
    problems: Count | None
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_new_tokens: Count
    stop: list[str] = Field(default_factory=list)
    shots: Annotated[int, Field(ge=0)] = 0
    shuffle_choices: Annotated[int, Field(ge=0)] | None = None
    guess: bool = False
    seed: Seed
    engine: Literal["vllm", "transformers"]
    dtype: Literal["float32", "bfloat16"]


def takes(config: Config) -> tuple[str, ...]:
    return ("checkpoint", "benchmark", "shots") if config.shots else ("checkpoint", "benchmark")


def check(config: Config) -> list[str]:
    """What the types cannot say."""
    errors = []
    if config.temperature == 0 and config.k > 1:
        errors.append(f"k: {config.k} samples at temperature 0 are {config.k} times the same; k is 1 there")
    if "" in config.stop:
        errors.append("stop: an empty string would stop every completion at once")
    if config.kind == "math" and (config.guess or config.shuffle_choices is not None):
        errors.append("kind: math has no choices to guess from or to shuffle")
    errors += [f"template: {message}" for message in prompts.errors(config.template)]
    return errors


def run(config: Config, context: Context) -> dict[str, Any]:
    from stages.evaluation import benchmark

    return benchmark.run(config, context)
