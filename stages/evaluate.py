"""Stage `evaluate`: generate answers to the problems of one benchmark, grade them, and count.

It publishes `generations.parquet`, one row per sample with the columns of `stages.evaluation.benchmark.COLUMNS`, and
`scores.json`: n (problems), k (samples per problem), pass@1 and its standard error clustered by problem, pass@2,
pass@4, ... up to k, the shares of unparsed, error and truncated samples, and the mean number of tokens.

All benchmarks of one checkpoint can run in one job, which then loads one engine.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context

VERSION = 1
MAKES = ("evaluation",)
SHARES = ("checkpoint",)

Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """How one benchmark is sampled and graded (paper, appendix B "Evaluation Details").

    Attributes:
        kind: of the answers: math (the last boxed expression, by Math-Verify) or letter (of a multiple choice).
        k: samples per problem.
        problems: rows that the benchmark must have; null for any number.
        temperature: 0 is greedy.
        top_p: probability mass to sample from.
        max_new_tokens: tokens of a completion.
        stop: strings that end a completion.
        seed: of the samples.
        engine: what generates.
        dtype: what the engine computes in.
    """

    kind: Literal["math", "letter"]
    k: Count
    problems: Count | None
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    max_new_tokens: Count
    stop: list[str] = Field(default_factory=list)
    seed: Annotated[int, Field(ge=0)]
    engine: Literal["vllm", "transformers"]
    dtype: Literal["float32", "bfloat16"]


def takes(config: Config) -> tuple[str, ...]:
    return ("checkpoint", "benchmark")


def check(config: Config) -> list[str]:
    """What the types cannot say."""
    errors = []
    if config.temperature == 0 and config.k > 1:
        errors.append(f"k: {config.k} samples at temperature 0 are {config.k} times the same; k is 1 there")
    if "" in config.stop:
        errors.append("stop: an empty string would stop every completion at once")
    return errors


def run(config: Config, context: Context) -> dict[str, Any]:
    from stages.evaluation import benchmark

    return benchmark.run(config, context)
