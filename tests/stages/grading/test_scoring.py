"""One definition of a correct answer."""

import time

import pytest

from stages.grading.boxes import last_box
from stages.grading.mathematics import MAX_ANSWER
from stages.grading.scoring import Verdict, extract, score


@pytest.mark.parametrize(
    ("gold", "completion", "extracted", "correct"),
    [
        ("1/2", r"so \boxed{0.5}.", "0.5", True),
        ("0.5", r"\boxed{\frac12}", r"\frac12", True),
        (r"\frac 34", r"\boxed{\frac{3}{4}}", r"\frac{3}{4}", True),
        ("1,234", r"\boxed{1234}", "1234", True),
        ("(1,2)", r"\boxed{(1, 2)}", "(1, 2)", True),
        (r"\text{east}", r"\boxed{east}", "east", True),
        ("12", r"\boxed{\$12}", r"\$12", True),
        ("12", r"\boxed{x = 12}", "x = 12", True),
        ("12", r"\boxed{13}", "13", False),
        ("3", r"\boxed{4} no, \boxed{3}", "3", True),
        ("4", r"\boxed{4} no, \boxed{3}", "3", False),
        ("3", "it is 3", None, False),
        ("3", r"\boxed{3", None, False),
        ("3", r"\boxed{}", "", False),
    ],
)
def test_mathematics_compares_the_last_box_with_the_gold_answer(
    gold: str, completion: str, extracted: str | None, correct: bool
) -> None:
    assert score("math", gold, completion) == Verdict(extracted, correct)


@pytest.mark.parametrize(
    ("completion", "letter"),
    [
        (r"\boxed{B}", "B"),
        (r"\boxed{\text{(B)}}", "B"),
        (r"\boxed{B. because}", "B"),
        ("The answer is (B).", "B"),
        ("Answer: **B**", "B"),
        ("The answer is A. No, the answer is B", "B"),
        (r"the answer is A, so \boxed{B}", "B"),
        ("the answer is a cat", None),
        ("The answer is Because", None),
        ("", None),
    ],
)
def test_a_choice_is_the_letter_in_the_last_box_or_the_last_stated_one(completion: str, letter: str | None) -> None:
    assert score("letter", "B", completion) == Verdict(letter, letter == "B")


def test_braces_are_matched_and_escaped_ones_are_text() -> None:
    assert last_box(r"\boxed{1} or \boxed{\frac{1}{2}}") == r"\frac{1}{2}"
    assert last_box(r"\boxed{\{1, 2\}}") == r"\{1, 2\}"
    assert last_box(r"\boxed {7}") == "7"


def test_an_overlong_answer_is_incorrect_and_is_not_parsed() -> None:
    assert score("math", "1", rf"\boxed{{{'1+' * MAX_ANSWER}1}}").correct is False


@pytest.mark.parametrize("kind", ["math", "letter"])
@pytest.mark.parametrize("piece", [r"\boxed{", "answer is ", " ", "answer" + " " * 50, r"\boxed{(", "\x00", "}{", "\\"])
def test_extraction_of_a_megabyte_takes_a_moment(kind: str, piece: str) -> None:
    started = time.process_time()
    extract(kind, "answer" + piece * (1_000_000 // len(piece)))  # type: ignore[arg-type]
    assert time.process_time() - started < 3
