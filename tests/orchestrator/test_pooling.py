"""Seeds pooled: the mean of their means, with an interval that seeds and problems both widen."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator import pooling


def drawn(seed: int, means: list[float], problems: int = 200) -> list[list[float]]:
    draw = np.random.default_rng(seed)
    return [list(draw.normal(mean, 0.3, problems)) for mean in means]


def test_every_seed_and_every_benchmark_has_its_weight() -> None:
    changes = {"sums": [[0.5, 0.5], [1.0]], "words": [[0.0], [0.5, 0.5, 0.5]]}
    found = pooling.pooled(changes, {"sums": 0.25, "words": 0.75})
    assert found.each == (0.125, 0.625) and found.mean == pytest.approx(0.375)
    assert (found.seeds, found.problems) == (2, 7)
    assert (found.low, found.high) == (0.125, 0.625)  # both draws the one seed, or the other: nothing else varies


def test_the_same_artifacts_have_the_same_interval() -> None:
    changes = {"sums": drawn(0, [0.1, 0.2, 0.3])}
    assert pooling.pooled(changes, {"sums": 1.0}) == pooling.pooled(changes, {"sums": 1.0})


def test_seeds_that_disagree_widen_the_interval() -> None:
    alike = pooling.pooled({"sums": drawn(1, [0.2, 0.2, 0.2])}, {"sums": 1.0})
    apart = pooling.pooled({"sums": drawn(1, [-0.4, 0.2, 0.8])}, {"sums": 1.0})
    assert alike.verdict == "higher" and apart.verdict == ""
    assert apart.high - apart.low > 4 * (alike.high - alike.low)


def test_where_seeds_agree_it_is_that_of_the_problems() -> None:
    (problems,) = drawn(2, [0.1], problems=400)
    found = pooling.pooled({"sums": [problems] * 4}, {"sums": 1.0})
    error = np.std(problems) / np.sqrt(4 * 400)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_in_points() -> None:
    assert str(pooling.Change(0.025, 0.003, 0.047, 1, 9)) == "+2.5 [+0.3, +4.7] higher"
