"""Statistics of graded samples.

The problems are the random units: samples of one problem are not independent, so every standard error is that of a
mean over problems. Where there is no verdict because grading failed, the sample counts as wrong.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

#: Spellings of one answer that a majority vote does not tell apart: size commands and spaces that mean nothing.
_FRACTION = re.compile(r"\\[dt]frac(?![A-Za-z])")
_DELIMITER = re.compile(r"\\(?:left|right)(?![A-Za-z])")
_SPACE = re.compile(r"(?<!\w) | (?!\w)")


@dataclass(frozen=True)
class Sample:
    """One graded sample.

    Attributes:
        extracted: the answer that was found in the completion, as it is written; None if there is none.
        correct: None if it could not be graded.
        truncated: whether the completion was cut at its longest.
        tokens: of the completion.
    """

    extracted: str | None
    correct: bool | None
    truncated: bool
    tokens: int


def scores(problems: Sequence[Sequence[Sample]]) -> dict[str, float]:
    """The numbers of `scores.json`: all are shares from 0 to 1, except n, k and mean_tokens.

    `k` is the number of samples of a problem. Beside the powers of two up to it, pass@k is there for k itself: `gap`
    is that less pass@1, which is 0 where k is 1. `unparsed`, `errors` and `truncated` are shares of all samples.
    """
    correct = [[sample.correct is True for sample in samples] for samples in problems]
    every = [sample for samples in problems for sample in samples]
    k = len(problems[0])
    mean, error = pass_at_1(correct)
    gap, gap_error = mean_and_error([pass_at_k([samples], k) - sum(samples) / k for samples in correct])
    voted, voted_error = mean_and_error([float(majority_correct(samples)) for samples in problems])
    return {
        "n": len(problems),
        "k": k,
        "pass@1": mean,
        "pass@1_se": error,
        **{f"pass@{size}": pass_at_k(correct, size) for size in sorted({*powers_of_two(k), k}) if size > 1},
        "gap": gap,
        "gap_se": gap_error,
        "majority": voted,
        "majority_se": voted_error,
        "unparsed": sum(sample.extracted is None for sample in every) / len(every),
        "errors": sum(sample.correct is None for sample in every) / len(every),
        "truncated": sum(sample.truncated for sample in every) / len(every),
        "mean_tokens": statistics.fmean(sample.tokens for sample in every),
    }


def per_problem(samples: Sequence[Sample]) -> dict[str, int | str | bool | None]:
    """A problem's columns in `problems.parquet`: samples, how many are correct, their majority and its verdict."""
    return {
        "samples": len(samples),
        "correct": sum(sample.correct is True for sample in samples),
        "majority": majority([sample.extracted for sample in samples]),
        "majority_correct": majority_correct(samples),
    }


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean over problems and its standard error: the standard deviation over the root of n; 0 for one problem."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return statistics.fmean(values), error


def pass_at_1(correct: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Mean share of correct samples, and its standard error clustered by problem. One list for each problem.

    `pass_at_1([[True, True], [False, False]])` is `(0.5, 0.5)`.
    """
    return mean_and_error([sum(samples) / len(samples) for samples in correct])


def pass_at_k(correct: Sequence[Sequence[bool]], k: int) -> float:
    """Chance that one of k samples is correct, without bias: 1 - C(n - c, k) / C(n, k) (Chen et al. 2021, eq. 1).

    `pass_at_k([[True, False, False, False]], 2)` is `0.5`.
    """
    return statistics.fmean(
        1 - math.comb(len(samples) - sum(samples), k) / math.comb(len(samples), k) for samples in correct
    )


def powers_of_two(limit: int) -> list[int]:
    """`powers_of_two(6)` is `[1, 2, 4]`."""
    return [1 << i for i in range(limit.bit_length())]


def majority(extracted: Sequence[str | None]) -> str | None:
    r"""The most frequent answer, in the spelling that occurred first; of equally frequent ones the first that occurred.

    Answers are counted alike if `spelling` makes them equal; `0.5` and `\frac{1}{2}` are not. A sample without an
    answer has no vote: the majority is None only if no sample has an answer.
    `majority(["7", None, None, "x + 1", "x+1"])` is `"x + 1"`.
    """
    first: dict[str, str] = {}
    for answer in extracted:
        if answer is not None:
            first.setdefault(spelling(answer), answer)
    votes = Counter(spelling(answer) for answer in extracted if answer is not None)
    return first[max(votes, key=votes.__getitem__)] if votes else None  # equal counts: the first key


def majority_correct(samples: Sequence[Sample]) -> bool:
    """Whether a sample with the majority's answer was graded correct; False if no sample has an answer."""
    chosen = majority([sample.extracted for sample in samples])
    if chosen is None:
        return False
    alike = (s for s in samples if s.extracted is not None and spelling(s.extracted) == spelling(chosen))
    return any(sample.correct is True for sample in alike)


def spelling(answer: str) -> str:
    r"""What a vote compares: without dollars around it and a full stop behind it, `\left`, `\right`, the d or t of
    `\dfrac` and `\tfrac`, and spaces, except between two words or numbers, which they part.

    `spelling(r"$\dfrac{1}{2} x$.")` is `\frac{1}{2}x`; `spelling("1 1/2")` keeps its space.
    """
    text = _DELIMITER.sub("", _FRACTION.sub(r"\\frac", answer))
    return _SPACE.sub("", " ".join(text.split()).rstrip(".").strip("$").rstrip("."))
