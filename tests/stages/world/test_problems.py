from random import Random

import pytest

from stages.world.problems import Chain, Choice, chain, choice


def test_a_chain_is_written_reckoned_and_answered():
    problem = Chain(12, (7, -3))
    assert problem.expression == "12+7-3"
    assert problem.results == [19, 16]
    assert problem.answer == 16


def test_a_choice_is_answered_by_the_letter_of_its_largest_number():
    problem = Choice((34, 27, 51))
    assert problem.expression == "(A) 34 (B) 27 (C) 51"
    assert problem.answer == "C"
    assert problem.comparisons == "34>27. 34<51. "
    assert Choice((27, 34, 12)).comparisons == "27<34. 34>12. "


@pytest.mark.parametrize("changes", [1, 2, 3])
def test_start_and_results_lie_between_one_and_the_largest_and_every_change_changes_something(changes):
    random = Random(0)
    for _ in range(1000):
        drawn = chain(random, changes, largest=30)
        assert len(drawn.changes) == changes
        assert all(1 <= number <= 30 for number in [drawn.start, *drawn.results])
        assert 0 not in drawn.changes


def test_answers_are_spread_evenly():
    random = Random(0)
    answers = [chain(random, 2, largest=10).answer for _ in range(10_000)]
    assert all(900 < answers.count(number) < 1100 for number in range(1, 11))


def test_options_differ():
    random = Random(0)
    assert all(len(set(choice(random, largest=10).options)) == 3 for _ in range(100))
