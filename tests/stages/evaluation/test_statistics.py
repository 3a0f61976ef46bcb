"""What is computed from graded samples: means with errors clustered by problem, pass@k, the gap, majority votes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stages.evaluation.statistics import (
    Sample,
    majority,
    majority_correct,
    mean_and_error,
    pass_at_1,
    pass_at_k,
    per_problem,
    powers_of_two,
    scores,
    spelling,
)


def sample(extracted: str | None, correct: bool | None, *, truncated: bool = False, tokens: int = 10) -> Sample:
    return Sample(extracted=extracted, correct=correct, truncated=truncated, tokens=tokens)


#: An answer and its verdict, which is the same wherever the answer is, as a deterministic grader gives it.
answers = st.sampled_from([("1", True), ("2", False), ("3", False), ("4", None), (None, False)])


@st.composite
def graded(draw: st.DrawFn) -> list[list[Sample]]:
    """Problems with equally many samples each."""
    k = draw(st.integers(1, 9))
    one = st.builds(lambda pair, cut, n: sample(*pair, truncated=cut, tokens=n), answers, st.booleans(), st.integers(0))
    return draw(st.lists(st.lists(one, min_size=k, max_size=k), min_size=1, max_size=8))


def test_pass_at_1_is_the_mean_and_its_error_is_clustered_by_problem() -> None:
    assert pass_at_1([[True, True], [False, False]]) == (0.5, 0.5)
    assert pass_at_1([[True, False], [True, False]]) == (0.5, 0.0)
    assert pass_at_1([[True]]) == (1.0, 0.0)


def test_the_error_is_the_sandwich_estimator_with_problems_as_clusters() -> None:
    # Cameron and Miller 2015: sum over clusters of (sum of residuals)^2 / N^2, times G / (G - 1).
    correct = np.random.default_rng(0).random((40, 8)) < np.linspace(0.05, 0.9, 40)[:, None]
    residuals = (correct - correct.mean()).sum(axis=1)
    expected = math.sqrt((residuals**2).sum() / correct.size**2 * 40 / 39)
    assert pass_at_1(correct.tolist())[1] == pytest.approx(expected)


def test_the_errors_are_those_of_a_bootstrap_over_problems() -> None:
    draws = np.random.default_rng(1)
    correct = draws.random((200, 8)) < draws.beta(0.7, 1.5, (200, 1))
    problems = [[sample("1" if right else "2", bool(right)) for right in row] for row in correct]
    found = scores(problems)
    rows = draws.integers(0, 200, (4000, 200))
    votes = np.array([majority_correct(samples) for samples in problems], dtype=float)
    means, whole = correct.mean(axis=1), correct.any(axis=1)
    for key, values in {"pass@1_se": means, "gap_se": whole - means, "majority_se": votes}.items():
        assert found[key] == pytest.approx(values[rows].mean(axis=1).std(), rel=0.05)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_the_error_of_a_mean_is_that_of_scipy(values: list[float]) -> None:
    assert mean_and_error(values) == (pytest.approx(np.mean(values)), pytest.approx(stats.sem(values), abs=1e-12))


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(samples: list[bool], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(samples)))
    subsets = list(itertools.combinations(samples, k))
    assert pass_at_k([samples], k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_of_many_samples_is_exact() -> None:
    assert pass_at_k([[True] + 255 * [False]], 128) == 0.5


def test_powers_of_two_end_at_the_limit() -> None:
    assert powers_of_two(6) == [1, 2, 4]
    assert powers_of_two(8) == [1, 2, 4, 8]


def test_the_majority_is_the_most_frequent_answer() -> None:
    assert majority(["1", "2", "2"]) == "2"
    assert majority(["2", "1", "1", "2"]) == "2"  # a tie: the first that occurred
    assert majority([None, None, None, "3"]) == "3"  # no answer is no vote
    assert majority([None, None]) is None
    assert majority(["x + 1", "7", "x+1"]) == "x + 1"  # as it was written first


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        (r"$\dfrac{1}{2} x$.", r"\frac{1}{2}x"),
        (r"\left( 1 , \tfrac12 \right)", r"(1,\frac12)"),
        ("1 1/2", "1 1/2"),  # not eleven halves
        ("ten   apples ", "ten apples"),
        (r"\leftarrow", r"\leftarrow"),
        ("  ", ""),
    ],
)
def test_a_vote_does_not_see_how_an_answer_is_set(written: str, compared: str) -> None:
    assert spelling(written) == compared


@given(st.text())
def test_any_answer_has_a_spelling_no_longer_than_itself(text: str) -> None:
    assert len(spelling(text)) <= len(text)


def test_a_majority_is_correct_if_a_sample_with_that_answer_is() -> None:
    right, wrong = sample("1", True), sample("2", False)
    assert per_problem([wrong, right, right]) == {"samples": 3, "correct": 2, "majority": "1", "majority_correct": True}
    assert per_problem([wrong, wrong, right])["majority_correct"] is False
    assert per_problem([sample("1", None), right, wrong])["majority_correct"]  # one of them could not be graded
    assert not majority_correct([sample("1", None), sample("1", None)])
    assert not majority_correct([sample(None, True)])  # a guess is no answer of the model


def test_an_error_counts_as_wrong_and_is_shown() -> None:
    found = scores([[sample("1", True, tokens=2), sample("2", None, truncated=True, tokens=1)]])
    assert found == {
        "n": 1,
        "k": 2,
        "pass@1": 0.5,
        "pass@1_se": 0.0,
        "pass@2": 1.0,
        "gap": 0.5,
        "gap_se": 0.0,
        "majority": 1.0,
        "majority_se": 0.0,
        "unparsed": 0.0,
        "errors": 0.5,
        "truncated": 0.5,
        "mean_tokens": 1.5,
    }


def test_one_sample_has_no_gap_and_is_its_own_majority() -> None:
    found = scores([[sample("1", True)], [sample("2", False)], [sample(None, False)]])
    assert (found["gap"], found["gap_se"]) == (0.0, 0.0)
    assert (found["majority"], found["majority_se"]) == (found["pass@1"], found["pass@1_se"])
    assert not [key for key in found if key.startswith("pass@") and key not in ("pass@1", "pass@1_se")]


def test_the_gap_is_that_of_all_samples_where_their_number_is_no_power_of_two() -> None:
    found = scores([[sample("1", right) for right in (True, False, False, False, False, False)]])
    assert [key for key in found if key.startswith("pass@")] == ["pass@1", "pass@1_se", "pass@2", "pass@4", "pass@6"]
    assert found["gap"] == pytest.approx(found["pass@6"] - found["pass@1"]) == pytest.approx(5 / 6)


@given(graded())
def test_pass_at_k_rises_from_pass_at_1_and_the_gap_is_where_it_ends(problems: list[list[Sample]]) -> None:
    found = scores(problems)
    sizes = sorted(int(key[5:]) for key in found if key.startswith("pass@") and not key.endswith("_se"))
    rising = [found[f"pass@{size}"] for size in sizes]
    assert all(low <= high + 1e-12 for low, high in itertools.pairwise(rising))
    assert found["gap"] == pytest.approx(rising[-1] - rising[0], abs=1e-12)
    solved = [any(each.correct is True for each in samples) for samples in problems]
    assert rising[-1] == pytest.approx(np.mean(solved))
    assert found["majority"] <= rising[-1] + 1e-12


@given(graded())
def test_every_share_is_one_and_the_columns_of_the_problems_add_up(problems: list[list[Sample]]) -> None:
    found, rows = scores(problems), [per_problem(samples) for samples in problems]
    assert all(-1e-12 <= value <= 1 + 1e-12 for key, value in found.items() if key not in ("n", "k", "mean_tokens"))
    assert found["pass@1"] == pytest.approx(np.mean([row["correct"] / row["samples"] for row in rows]))
    assert found["majority"] == pytest.approx(np.mean([row["majority_correct"] for row in rows]))
