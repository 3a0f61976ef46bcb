"""Letters as the benchmarks' authors read them."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.grading import letters

COLOURS = ["red", "blue", "green", "grey"]

#: What the scripts look for, whole and in pieces, among what may stand between.
PIECES = [
    *(
        "answer is ",
        "Answer: ",
        "answer: ",
        "answer:",
        "Answer:",
        "answer ",
        "nswer: ",
        "is",
        "(A)",
        "(B)",
        "(E)",
        "(b)",
    ),
    *(
        "A",
        "B",
        "J",
        "K",
        "(",
        ")",
        "A)",
        "Answer: Answer: C",
        "(\n)",
        " ",
        "\n",
        "\r",
        "\u2028",
        "\t",
        "_",
        "é",
        ".",
        "'",
    ),
]


def mmlu_pro(text: str) -> str | None:
    """The patterns of MMLU-Pro's compute_accuracy.py, level 2."""
    patterns = [r"answer is \(?([A-J])\)?", r".*[aA]nswer:\s*([A-J])"]
    for pattern in patterns:
        if match := re.search(pattern, text):
            return match.group(1)
    match = re.search(r"\b[A-J]\b(?!.*\b[A-J]\b)", text, re.DOTALL)
    return match.group(0) if match else None


def gpqa(text: str) -> str | None:
    """The patterns of GPQA's run_baseline.py."""
    for pattern in (r"answer is \((.)\)", r"Answer: \((.)\)", r"answer: \((.)\)", r"answer \((.)\)", r"\((.)\)"):
        match = re.search(pattern, text)
        if match and match.group(1) in ("A", "B", "C", "D"):
            return match.group(1)
    return None


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_the_verdicts_of_the_official_scripts(text: str) -> None:
    assert letters.mmlu_pro(text) == mmlu_pro(text)
    assert letters.gpqa(text) == gpqa(text)


@pytest.mark.parametrize(
    ("text", "letter", "arc"),
    [
        ("The best answer is B.", "B", "B"),
        ("The best answer is A. Wait, the best answer is D", "D", "D"),
        ("So the best answer is \\boxed{C}.", "C", "C"),
        ("The answer is (C).", "C", "C"),
        ("the answer is (b)", "B", "B"),
        ("**Answer:** C", "C", "C"),
        ("ANSWER: D", "D", "D"),
        ("the correct answer is:\n\nB. blue", "B", "B"),
        ("The correct choice is **(C) green**", "C", "C"),
        (r"\boxed{B}", "B", "B"),
        (r"\boxed{\text{(B)}}", "B", "B"),
        (r"\boxed{\textbf{(D) } 5}", "D", "D"),
        (r"\boxed{Blue}", "B", "B"),
        (r"\boxed{2}", "B", "B"),
        ("The answer is 2.", "B", "B"),
        ("The answer is 2.5", None, None),
        (r"\boxed{E}", None, None),
        ("the answer is a cat", None, None),
        ("The answer is Because", None, None),
        ("I choose B", None, "B"),
        ("B", None, "B"),
        ("(3)", None, "C"),
        ("", None, None),
    ],
)
def test_a_letter_and_what_else_names_an_option(text: str, letter: str | None, arc: str | None) -> None:
    assert letters.letter(text, COLOURS) == letter
    assert letters.arc(text, COLOURS) == arc


def test_digits_are_labels_of_arc_without_options_too() -> None:
    assert letters.arc("The best answer is 4", None) == "D"
    assert letters.arc("The best answer is 4", COLOURS[:3]) is None


@pytest.mark.parametrize(
    ("gold", "letter"), [("b", "B"), ("(B)", "B"), (" B. ", "B"), ("2", "B"), ("", None), ("AB", None), ("0", None)]
)
def test_a_gold_letter(gold: str, letter: str | None) -> None:
    assert letters.gold(gold) == letter


@pytest.mark.parametrize(
    "piece", ["answer: (", "A ", "answer:", "\\boxed{", "(A)", "answer: \n", "best answer is ((", "\\("]
)
def test_a_megabyte_takes_a_moment(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    started = time.process_time()
    letters.mmlu_pro(text)
    letters.gpqa(text)
    letters.letter(text, COLOURS)
    letters.arc(text, COLOURS)
    assert time.process_time() - started < 10  # the scripts' own patterns take hours
