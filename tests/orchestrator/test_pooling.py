"""Seeds pooled: the mean of their means, with the interval of `orchestrator.estimate`."""

from __future__ import annotations

import pytest

from orchestrator import estimate, pooling
from orchestrator.estimate import Unpaired


def changes(*values: float) -> dict[str, float]:
    return {f"p{number}": value for number, value in enumerate(values)}


SUMS = [changes(0.5, 0.5), changes(1.0, 0.0)]
WORDS = [changes(0.0), changes(0.5)]


def test_every_seed_and_every_benchmark_has_its_weight() -> None:
    found = pooling.pooled({"sums": SUMS, "words": WORDS}, {"sums": 0.25, "words": 0.75})
    assert found.each == pytest.approx((0.125, 0.5)) and found.mean == pytest.approx(0.3125)
    assert (found.seeds, found.problems) == (2, 3)


def test_the_interval_is_that_of_the_tables() -> None:
    found = pooling.pooled({"sums": SUMS, "words": WORDS}, {"sums": 0.25, "words": 0.75})
    assert (found.low, found.high) == estimate.crossed([(0.25, SUMS), (0.75, WORDS)]).interval


def test_only_problems_of_all_seeds_are_pooled() -> None:
    found = pooling.pooled({"sums": [changes(0.5, 0.5, 1.0), changes(1.0, 0.0)]}, {"sums": 1.0})
    assert found.problems == 2 and found.mean == pytest.approx(0.5)
    with pytest.raises(Unpaired, match="no problem in common"):
        pooling.pooled({"sums": [{"a": 1.0}, {"b": 1.0}]}, {"sums": 1.0})


def test_in_points() -> None:
    assert str(pooling.Change(0.025, 0.003, 0.047, 1, 9)) == "+2.5 [+0.3, +4.7] higher"
