"""Problems that one side of a comparison solves and the other does not, and whether that is chance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A problem whose share of right samples changed, over the seeds that have it.

    `rows` are the folders of the two evaluations in which it is to be seen, those of the seed that changed most.
    """

    benchmark: str
    id: str
    before: float
    after: float
    rows: tuple[Path, Path]

    @property
    def flip(self) -> str:
        """`right` or `wrong`, what it has become; empty if it is what it was."""
        right = (self.before > 0.5, self.after > 0.5)
        return "" if right[0] == right[1] else "right" if right[1] else "wrong"


def mcnemar(to_right: int, to_wrong: int) -> float:
    """The two-sided p of McNemar's exact test: a binomial of the flips with probability 1/2."""
    from scipy.special import bdtr  # scipy.stats takes a second to import

    flips = to_right + to_wrong
    return 1.0 if flips == 0 else min(1.0, 2 * float(bdtr(min(to_right, to_wrong), flips, 0.5)))
