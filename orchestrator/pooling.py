"""Pooling the seeds of a comparison: the mean change over all of them, with the interval that every table has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator import estimate
from orchestrator.estimate import Shares


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


def pooled(changes: Mapping[str, Sequence[Shares]], weights: Mapping[str, float]) -> Change:
    """The change of an average of benchmarks, over the problems that all seeds have.

    Args:
        changes: benchmark -> for each of several seeds, id of a problem -> its change. All have the same seeds.
        weights: benchmark -> its weight; they add up to 1.

    Raises:
        Unpaired: the seeds have no problem in common.
    """
    shared = {name: _shared(of_seeds) for name, of_seeds in changes.items()}
    found = estimate.crossed([(weights[name], of_seeds) for name, of_seeds in shared.items()])
    assert found.interval is not None  # there are several seeds
    each = zip(*([weights[name] * fmean(of.values()) for of in shares] for name, shares in shared.items()), strict=True)
    problems = sum(len(of_seeds[0]) for of_seeds in shared.values())
    return Change(found.mean, *found.interval, seeds=found.seeds, problems=problems, each=tuple(map(sum, each)))


def _shared(of_seeds: Sequence[Shares]) -> list[Shares]:
    common = set.intersection(*(set(shares) for shares in of_seeds))
    if not common:
        raise estimate.Unpaired("the seeds have no problem in common")
    return [{id: change for id, change in shares.items() if id in common} for shares in of_seeds]
