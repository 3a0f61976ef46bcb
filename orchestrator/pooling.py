"""Pooling the seeds of a comparison: the mean change, with an interval by a bootstrap that has seeds as clusters.

A resample draws seeds with replacement, and within each the problems of every benchmark; the interval goes from the
2.5th to the 97.5th percentile of their means. Two or three seeds are few clusters: such an interval is too narrow
rather than too wide, and the change of each seed is said beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Resamples, and the seed of their draws: the same artifacts have the same interval.
RESAMPLES, DRAW = 2000, 0


@dataclass(frozen=True)
class Change:
    """A mean change of shares with its 95 % interval; `each` is that of every seed, if there are several."""

    mean: float
    low: float
    high: float
    seeds: int
    problems: int
    each: tuple[float, ...] = ()

    @property
    def verdict(self) -> str:
        """`higher` or `lower` where the interval excludes 0, else empty."""
        return "higher" if self.low > 0 else "lower" if self.high < 0 else ""

    def __str__(self) -> str:
        """In points: `+2.5 [+0.3, +4.7] higher`."""
        return f"{100 * self.mean:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}] {self.verdict}".rstrip()


def pooled(changes: Mapping[str, Sequence[Sequence[float]]], weights: Mapping[str, float]) -> Change:
    """The change of an average of benchmarks.

    Args:
        changes: benchmark -> for each seed, the change of each of its problems. All have the same seeds.
        weights: benchmark -> its weight; they add up to 1.
    """
    import numpy as np

    draw = np.random.default_rng(DRAW)
    seeds = len(next(iter(changes.values())))
    chosen = draw.integers(seeds, size=(RESAMPLES, seeds))
    total = np.zeros(RESAMPLES)
    means = np.zeros(seeds)
    for name, of_seeds in changes.items():
        arrays = [np.asarray(each, dtype=float) for each in of_seeds]
        means += weights[name] * np.array([each.mean() for each in arrays])
        for place in range(seeds):
            for seed, each in enumerate(arrays):
                (rows,) = np.nonzero(chosen[:, place] == seed)
                total[rows] += [
                    weights[name] / seeds * each[draw.integers(len(each), size=len(each))].mean() for _ in rows
                ]
    low, high = np.percentile(total, [2.5, 97.5])
    problems = sum(len(each) for of_seeds in changes.values() for each in of_seeds)
    each_seed = tuple(float(mean) for mean in means)
    return Change(float(means.mean()), float(low), float(high), seeds=seeds, problems=problems, each=each_seed)
