"""Flips, and how surprising it is that so many go one way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator.flips import Moved, mcnemar


@given(st.integers(0, 300), st.integers(0, 300))
def test_it_is_an_exact_binomial_test(to_right: int, to_wrong: int) -> None:
    expected = stats.binomtest(to_right, to_right + to_wrong).pvalue if to_right + to_wrong else 1.0
    assert mcnemar(to_right, to_wrong) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("before", "after", "flip"),
    [
        (0.0, 1.0, "right"),
        (1.0, 0.0, "wrong"),
        (0.25, 0.5, ""),
        (0.5, 0.75, "right"),
        (0.75, 0.5, "wrong"),
        (0.75, 1.0, ""),
    ],
)
def test_a_problem_is_right_where_more_than_half_of_its_samples_are(before: float, after: float, flip: str) -> None:
    assert Moved(benchmark="sums", id="p", before=before, after=after, rows=(Path(), Path())).flip == flip
