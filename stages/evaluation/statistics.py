"""Statistics of graded samples. Everywhere `correct` has one list per problem with one bool per sample."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def pass_at_1(correct: Sequence[Sequence[bool]]) -> tuple[float, float]:
    """Mean share of correct samples, and its standard error clustered by problem.

    Samples of one problem are not independent, so the problems are the units: the error is the standard deviation
    of the problems' means over the root of their number; 0 for a single problem.
    `pass_at_1([[True, True], [False, False]])` is `(0.5, 0.5)`.
    """
    means = [sum(samples) / len(samples) for samples in correct]
    error = statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else 0.0
    return statistics.fmean(means), error


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
