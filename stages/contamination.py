"""Stage `contamination`: which problems of a benchmark occur in data that is trained on.

A problem is contaminated if `ngram` consecutive words of its question stand in one text of the corpus, or, where its
question is shorter, if the whole of it is the question or the prompt of a row. What is a word, and what a whole
question: `stages.overlap.words`.

    matches.parquet   a contaminated problem: problem (from 0), id, ngram (the first of its question that the corpus
                      has; if the question is shorter, all of it), row (of the corpus, from 0: the first that has it),
                      whole (whether the whole question is the question or the prompt of that row)
    summary.json      problems; checked: those that have an n-gram; short: those that have none; contaminated: of both;
                      short_equal: of the short ones alone; share: contaminated / problems
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context

VERSION = 1
MAKES = ("contamination",)
SHARES = ("corpus",)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """What counts as the same text.

    Attributes:
        ngram: consecutive words that a problem and a text of the corpus have in common; 13 in GPT-3's appendix C.
    """

    ngram: Annotated[int, Field(ge=1)]


def takes(config: Config) -> tuple[str, ...]:
    return ("benchmark", "corpus")


def run(config: Config, context: Context) -> dict[str, Any]:
    """Read the corpus once for all benchmarks of the job, and look each problem up in it."""
    from stages.overlap import guard

    return guard.run(config, context)
