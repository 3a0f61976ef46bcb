"""Budgets and cuts, small enough to check by eye."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.rejuvenation import ranking
from stages.rejuvenation.architecture import Module


def test_budget_rounds_up() -> None:
    assert ranking.budget(0.01, 250) == 3
    assert ranking.budget(0.01, 200) == 2
    assert ranking.budget(1.0, 7) == 7


def test_only_positive_scores_are_kept_largest_first() -> None:
    scores = torch.tensor([1.0, 3.0, -5.0, 0.0, 2.0])
    assert ranking.top_positive(scores, 2).tolist() == [1, 4]
    assert ranking.top_positive(scores, 5).tolist() == [1, 4, 0]
    assert ranking.top_positive(-scores.abs(), 5).tolist() == []
    assert ranking.top_positive(scores, 0).tolist() == []


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.0, 3.0]), min_size=1), st.data())
def test_ties_go_to_the_smaller_index(scores: list[float], data: st.DataObject) -> None:
    count = data.draw(st.integers(0, len(scores)))
    best = sorted((i for i, s in enumerate(scores) if s > 0), key=lambda i: (-scores[i], i))[:count]
    assert ranking.top_positive(torch.tensor(scores), count).tolist() == best


MODULES = [Module("a", 0, "q_proj", 3), Module("b", 0, "k_proj", 2)]


def test_a_module_scope_takes_its_share_of_every_module() -> None:
    scores = torch.tensor([5.0, 4.0, 3.0, 1.0, 2.0])
    assert ranking.Ranking(MODULES, "model", "positive").best(scores, 0.6).tolist() == [0, 1, 2]
    assert ranking.Ranking(MODULES, "module", "positive").best(scores, 0.5).tolist() == [0, 1, 4]


def test_magnitude_counts_where_signs_do_not() -> None:
    scores = torch.tensor([-5.0, 4.0, 0.0, 1.0, -1.0])
    assert ranking.Ranking(MODULES, "model", "absolute").best(scores, 1.0).tolist() == [0, 1, 3, 4]
    assert ranking.Ranking(MODULES, "model", "positive").best(scores, 1.0).tolist() == [1, 3]
