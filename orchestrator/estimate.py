"""An estimate over seeds and problems: a mean, its error, and two intervals that say how they are made.

Every seed has answered the same problems, so seeds and problems are crossed, not nested: a problem that is hard is hard
for all seeds. Both are random, as another training and another test set of the kind would be; the benchmarks of an
average are fixed. With S seeds and P problems the squared error of a mean is

    v_S + v_P  =  (variance of the seeds' means) / S + (variance of the problems, less what is noise in their means) / P

and the interval reaches to either side by

    sqrt(t_(S-1)^2 v_S + t_(P-1)^2 v_P)        t_f: the quantile of Student's t with f degrees of freedom

which is Banerjee's (1960, "Approximate confidence interval for linear functions of means of k populations when the
population variances are not equal", Sankhya 22, 357-358). Of independent normal terms it covers 95 % or more, whatever
their variances. Satterthwaite's degrees of freedom, which are estimated from the same two variances, do not keep that
promise where v_S has one or two degrees of freedom: where few seeds happen to agree, the error comes out small and the
degrees of freedom many. Simulated, they cover as little as 92 % with three seeds and 87 % with two; Banerjee's interval
covers 95 to 98 %, at up to 1.35 times the width with three seeds. It is what verdicts rest on.

Beside it stands the cluster bootstrap: seeds are drawn with replacement as whole clusters, the problems of each
benchmark with replacement within them, the same ones for all seeds of a draw; its ends are percentiles. With three
seeds it is too narrow, and is there for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: Coverage that intervals are made for.
COVERAGE = 0.95

#: Draws of the bootstrap, and the seed of the first.
DRAWS, SEED = 1000, 0

#: How the intervals over seeds are called.
NAME = "95 % Student's t over seeds and problems, crossed (Banerjee: 95 % or more)"
BOOTSTRAP = "95 % cluster bootstrap: seeds as clusters, problems within them, percentiles of 1000 draws"

#: Ids that a message names.
NAMED = 5

#: Id of a problem -> its value, such as the share of correct samples.
Shares = Mapping[str, float]


class Unpaired(Exception):
    """Evaluations cannot be compared, and why."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds (and problems, if they are known), its standard error and the degrees of freedom of that.

    One seed without problems has neither: `error` and `freedom` are None then. Where the error has several terms,
    `freedom` is that of the Student's t whose quantile reaches as far as the interval does, so it is between theirs.
    """

    mean: float
    error: float | None
    freedom: float | None
    seeds: int
    bootstrap: tuple[float, float] | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's t around the mean."""
        if self.error is None or self.freedom is None:
            return None
        half = quantile(self.freedom) * self.error
        return self.mean - half, self.mean + half


def quantile(freedom: float) -> float:
    """How many standard errors an interval reaches to either side."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    return float(stdtrit(freedom, (1 + COVERAGE) / 2))


def over_seeds(means: Sequence[float]) -> Estimate:
    """The mean of one number a seed, where nothing is known of problems: what varies is the seed alone."""
    import numpy as np

    seeds, mean = len(means), float(np.mean(means))
    if seeds < 2:
        return Estimate(mean=mean, error=None, freedom=None, seeds=seeds)
    return Estimate(mean=mean, error=float(np.std(means, ddof=1)) / seeds**0.5, freedom=seeds - 1, seeds=seeds)


def crossed(parts: Sequence[tuple[float, Sequence[Shares]]]) -> Estimate:
    """A sum over benchmarks, weight times mean, of (weight, the shares of each seed); seeds in one order.

    Raises:
        Unpaired: the seeds have not answered the same problems.
    """
    import numpy as np

    weighted = [(weight, matrix(shares)) for weight, shares in parts]
    means_S = np.sum([weight * x_SP.mean(axis=1) for weight, x_SP in weighted], axis=0)
    seeds = len(means_S)
    squares = [(weight**2 * _of_problems(x_SP), x_SP.shape[1] - 1) for weight, x_SP in weighted]
    if seeds > 1:
        squares.append((float(means_S.var(ddof=1)) / seeds, seeds - 1))
    squares = [(square, freedom) for square, freedom in squares if freedom > 0]
    known = bool(squares)
    return Estimate(
        mean=float(means_S.mean()),
        error=math.sqrt(sum(square for square, _ in squares)) if known else None,
        freedom=_freedom(squares) if known else None,
        seeds=seeds,
        bootstrap=_bootstrap(weighted) if seeds > 1 else None,
    )


def matrix(shares: Sequence[Shares]) -> np.ndarray:
    """Seeds by problems.

    Raises:
        Unpaired: not all have the same problems.
    """
    import numpy as np

    for other in shares[1:]:
        alone = sorted(shares[0].keys() ^ other.keys())
        if alone:
            raise Unpaired(f"problems that only one of the two has: {named(alone)}")
    return np.array([[each[id] for id in shares[0]] for each in shares], dtype=np.float64)


def named(ids: Sequence[str]) -> str:
    """The first of some ids, and how many more there are."""
    more = f" and {len(ids) - NAMED} more" if len(ids) > NAMED else ""
    return f"{', '.join(ids[:NAMED])}{more}"


def _freedom(squares: Sequence[tuple[float, int]]) -> float:
    """Degrees of freedom with which Student's t reaches as far as Banerjee's interval, of (squared error, freedom)."""
    from scipy.special import stdtridf

    there = [(square, freedom) for square, freedom in squares if square > 0] or [*squares]
    freedoms = [freedom for _, freedom in there]
    total = sum(square for square, _ in there)
    if len(set(freedoms)) == 1 or total == 0:
        return float(min(freedoms))
    reach = math.sqrt(sum(quantile(freedom) ** 2 * square for square, freedom in there) / total)
    return min(max(float(stdtridf((1 + COVERAGE) / 2, reach)), min(freedoms)), max(freedoms))


def _of_problems(x_SP: np.ndarray) -> float:
    """The part of the squared error of the mean that is of the problems, whatever the seeds."""
    seeds, problems = x_SP.shape
    if problems < 2:
        return 0.0
    noise = 0.0
    if seeds > 1:
        rest_SP = x_SP - x_SP.mean(axis=1, keepdims=True) - x_SP.mean(axis=0, keepdims=True) + x_SP.mean()
        noise = float((rest_SP**2).sum()) / ((seeds - 1) * (problems - 1)) / seeds
    return max(0.0, float(x_SP.mean(axis=0).var(ddof=1)) - noise) / float(problems)


def _bootstrap(weighted: Sequence[tuple[float, np.ndarray]]) -> tuple[float, float]:
    """Percentiles of the sum over draws of seeds and of problems."""
    import numpy as np

    seeds = weighted[0][1].shape[0]
    drawn_BS = _drawn(seeds, 0)
    total_B, uses = np.zeros(DRAWS), dict[int, int]()
    for weight, x_SP in weighted:
        problems = x_SP.shape[1]
        uses[problems] = uses.get(problems, 0) + 1  # benchmarks of one size are drawn independently
        total_B += weight * np.einsum("bs,bs->b", drawn_BS, _drawn(problems, uses[problems]) @ x_SP.T)
    low, high = np.quantile(total_B, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(low), float(high)


@lru_cache(maxsize=32)
def _drawn(size: int, use: int) -> np.ndarray:
    """The share of each of `size` things in every draw; the same in every call, so that all rows share them."""
    import numpy as np

    draws = np.random.default_rng([SEED, size, use])
    return draws.multinomial(size, np.full(size, 1 / size), size=DRAWS) / size
