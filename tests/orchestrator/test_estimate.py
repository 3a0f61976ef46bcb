"""Estimates over seeds and problems: by hand, as known tests have them, and as often right as they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.differences import paired
from orchestrator.estimate import Unpaired, crossed, over_seeds

shares = st.integers(0, 8).map(lambda count: count / 8)


def ids(values: Any) -> dict[str, float]:
    return {f"p{number}": float(value) for number, value in enumerate(values)}


def rows(x_SP: np.ndarray) -> list[dict[str, float]]:
    return [ids(x_P) for x_P in x_SP]


def test_a_number_a_seed_has_the_interval_of_students_t() -> None:
    found = over_seeds([0.1, 0.2, 0.6])
    assert found.mean == pytest.approx(0.3)
    assert found.error == pytest.approx(math.sqrt(0.07 / 3))  # a variance of (0.04 + 0.01 + 0.09) / 2
    low, high = found.interval or (0, 0)
    assert (high - low) / 2 == pytest.approx(4.302653 * math.sqrt(0.07 / 3))  # two degrees of freedom
    assert over_seeds([0.1]).interval is None


def test_seeds_and_problems_are_crossed() -> None:
    # Three seeds by two problems: each seed adds its own 0, 0.1, 0.5, each problem its own 0, 0.4, and nothing else.
    found = crossed([(1.0, rows(np.add.outer([0.0, 0.1, 0.5], [0.0, 0.4])))])
    seeds, problems = 0.07 / 3, 0.08 / 2
    assert found.mean == pytest.approx(0.4)
    assert found.error == pytest.approx(math.sqrt(seeds + problems))
    low, high = found.interval or (0, 0)
    half = math.sqrt(4.302653**2 * seeds + 12.706205**2 * problems)  # two degrees of freedom, and one
    assert (low, high) == (pytest.approx(0.4 - half), pytest.approx(0.4 + half))
    assert found.freedom is not None and 1 < found.freedom < 2


def test_noise_in_the_means_of_problems_is_not_taken_for_their_variance() -> None:
    # Two seeds that disagree about every problem: the problems' means are all alike, the seeds' too.
    found = crossed([(1.0, rows(np.array([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]])))])
    assert (found.mean, found.error) == (0.5, 0.0)


def test_what_a_seed_does_to_all_benchmarks_does_not_average_out() -> None:
    one = rows(np.add.outer([0.0, 0.1, 0.5], [0.2, 0.2]))
    both = crossed([(0.5, one), (0.5, one)])
    assert both.error == pytest.approx(crossed([(1.0, one)]).error)


@given(st.lists(st.tuples(shares, shares), min_size=2, max_size=20))
def test_one_seed_is_a_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = (np.array(values) for values in zip(*pairs, strict=True))
    found, expected = crossed([(1.0, [ids(ours - theirs)])]), paired(ids(ours), ids(theirs))
    assert (found.mean, found.error) == (pytest.approx(expected.mean), pytest.approx(expected.error))
    assert found.freedom == pytest.approx(expected.freedom) and found.bootstrap is None


@given(st.lists(st.lists(shares, min_size=5, max_size=5), min_size=2, max_size=4), st.randoms())
def test_the_order_of_seeds_and_of_problems_does_not_matter(values: list[list[float]], draw: Any) -> None:
    given_rows = rows(np.array(values))
    order = list(given_rows[0])
    draw.shuffle(order)
    others = [{id: row[id] for id in order} for row in given_rows]
    draw.shuffle(others)
    one, other = crossed([(1.0, given_rows)]), crossed([(1.0, others)])
    assert (one.mean, one.error) == (pytest.approx(other.mean), pytest.approx(other.error, abs=1e-9))


@given(st.lists(st.lists(shares, min_size=6, max_size=6), min_size=2, max_size=4), st.floats(-1, 1))
def test_the_bootstrap_moves_with_what_it_is_of(values: list[list[float]], shift: float) -> None:
    x_SP = np.array(values)
    low, high = crossed([(1.0, rows(x_SP))]).bootstrap or (0, 0)
    assert x_SP.min() - 1e-9 <= low <= high <= x_SP.max() + 1e-9
    moved = crossed([(2.0, rows(x_SP + shift))]).bootstrap
    assert moved == (pytest.approx(2 * (low + shift), abs=1e-9), pytest.approx(2 * (high + shift), abs=1e-9))
    assert crossed([(1.0, rows(x_SP))]).bootstrap == (low, high)  # the same draws every time
    assert crossed([(1.0, rows(0 * x_SP + shift))]).bootstrap == (pytest.approx(shift), pytest.approx(shift))


def test_seeds_with_other_problems_are_refused() -> None:
    with pytest.raises(Unpaired, match=r"^problems that only one of the two has: p1$"):
        crossed([(1.0, [ids([0.0, 1.0]), ids([0.5])])])


#: Seeds, deviations of seeds and of problems (those of the rest are 0.1), replications, and the least and the largest
#: coverage. Of these draws Satterthwaite's degrees of freedom cover 86.5 and 92.6 % in the first two.
COVERED = [
    (2, 0.2, 0.3, 600, 0.94, 0.98),
    (3, 0.2, 0.3, 1500, 0.943, 0.98),
    (3, 0.05, 0.3, 600, 0.955, 0.99),
    (3, 0.0, 0.3, 600, 0.945, 0.985),
    (3, 0.2, 0.0, 600, 0.93, 0.97),
    (5, 0.2, 0.3, 600, 0.935, 0.98),
]


@pytest.mark.parametrize(("seeds", "of_seed", "of_problem", "replications", "least", "most"), COVERED)
def test_intervals_cover_the_truth_as_often_as_they_say(
    seeds: int, of_seed: float, of_problem: float, replications: int, least: float, most: float
) -> None:
    draws, hits = np.random.default_rng(3), 0
    for _ in range(replications):
        x_SP = of_seed * draws.normal(size=(seeds, 1)) + of_problem * draws.normal(size=(1, 60))
        low, high = crossed([(1.0, rows(x_SP + 0.1 * draws.normal(size=(seeds, 60))))]).interval or (1, 1)
        hits += low <= 0 <= high
    assert least < hits / replications < most


def test_the_bootstrap_of_three_seeds_is_too_narrow_where_seeds_differ() -> None:
    draws, hits = np.random.default_rng(4), 0
    for _ in range(200):
        x_SP = 0.2 * draws.normal(size=(3, 1)) + 0.3 * draws.normal(size=(3, 60))
        low, high = crossed([(1.0, rows(x_SP))]).bootstrap or (1, 1)
        hits += low <= 0 <= high
    assert hits / 200 < 0.88


def test_students_t_is_scipys() -> None:
    low, high = over_seeds([0.0, 1.0, 2.0, 5.0]).interval or (0, 0)
    expected = stats.ttest_1samp([0.0, 1.0, 2.0, 5.0], 0.0).confidence_interval(0.95)
    assert (low, high) == (pytest.approx(expected.low), pytest.approx(expected.high))
