"""What is wrong with a benchmark is found at once, before an engine is started."""

import random
from typing import Any

import pytest

from stages import problems
from stages.contract import StageError
from stages.problems import Problem


def read(rows: list[dict[str, Any]], kind: str = "letter", **chosen: Any) -> list[Problem]:
    return problems.read(rows, **{"kind": kind, "expected": None, "shuffle": None, **chosen})


def row(answer: str, *choices: str, **more: str) -> dict[str, Any]:
    return {"question": "Which?", "answer": answer, "choices": list(choices or ("x", "y", "z")), **more}


def test_ids_are_the_rows_own_or_their_numbers() -> None:
    assert [problem.id for problem in read([row("A", id="q7"), row("A", id="q8")])] == ["q7", "q8"]
    assert [problem.id for problem in read([row("A"), row("A")])] == ["0", "1"]


@pytest.mark.parametrize(("answer", "letter"), [("B", "B"), ("b", "B"), (" (B). ", "B"), ("2", "B"), ("3", "C")])
def test_a_gold_answer_is_a_letter_or_its_number(answer: str, letter: str) -> None:
    assert read([row(answer)])[0].gold == letter


def test_everything_that_is_wrong_is_said_at_once() -> None:
    rows = [row("A", id="1"), row("D", id="1"), row("no", id="2"), row("A", "only", id="3"), row("0", id="4")]
    with pytest.raises(StageError) as caught:
        read(rows, expected=4)
    assert str(caught.value) == (
        "problems=4: but there are 5 rows; ids that occur more than once: 1; "
        "gold answers that are no choice: 1 ('D' of 3 choices), 2 ('no', expected a letter), 3 (1 choices), "
        "4 ('0', expected a letter)"
    )


def test_a_benchmark_has_questions_and_answers() -> None:
    with pytest.raises(StageError, match="needs question and answer; there is no answer and no question"):
        read([{"prompt": "1"}])


def test_many_ids_are_counted() -> None:
    with pytest.raises(StageError, match="19 and 5 more"):
        read([row("A", id=str(number % 25)) for number in range(50)])


def test_choices_are_shuffled_by_the_seed_and_the_question_alone() -> None:
    rows = [{**row("A", "right", "w1", "w2", "w3"), "question": f"Which {n}?"} for n in range(40)]
    found = read(rows, shuffle=0)
    assert all((problem.choices or [])["ABCD".index(problem.gold)] == "right" for problem in found)
    assert {problem.gold for problem in found} == set("ABCD")
    order = random.Random(1).sample(range(40), 40)
    assert [each.choices for each in read([rows[i] for i in order], shuffle=0)] == [found[i].choices for i in order]
    assert [each.choices for each in read(rows, shuffle=1)] != [each.choices for each in found]


def test_a_template_sees_the_letters_of_the_choices() -> None:
    assert read([row("A", "x", "y")])[0].fields["letters"] == "AB"


def test_mathematics_is_left_as_it_is() -> None:
    assert read([{"question": "q", "answer": " 1/2 "}], kind="math")[0].gold == " 1/2 "
