"""pass@1 with its clustered error, and pass@k."""

import itertools

import pytest

from stages.evaluation.statistics import pass_at_1, pass_at_k, powers_of_two


def test_pass_at_1_is_the_mean_and_its_error_is_clustered_by_problem() -> None:
    assert pass_at_1([[True, True], [False, False]]) == (0.5, 0.5)
    assert pass_at_1([[True, False], [True, False]]) == (0.5, 0.0)
    assert pass_at_1([[True]]) == (1.0, 0.0)


def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample() -> None:
    assert pass_at_k([[True, False, False, False]], 2) == 0.5
    samples = [True, False, True, False, False]
    subsets = list(itertools.combinations(samples, 3))
    assert pass_at_k([samples], 3) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_powers_of_two_end_at_the_limit() -> None:
    assert powers_of_two(6) == [1, 2, 4]
    assert powers_of_two(8) == [1, 2, 4, 8]
