"""Verdicts of mathematics: a table of answers and their near misses, and what both ways to a verdict have in common."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from latex2sympy2_extended import latex2sympy2

from stages.grading import expressions, mathematics, notation
from stages.grading.boxes import last_box
from stages.grading.scoring import score

VERDICTS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "fixtures" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()
]

#: What Math-Verify says otherwise than a mathematician, and why that stays: (gold, answer, the right verdict).
KNOWN_DIFFERENCES = [
    ("10:30", r"\frac{10}{30}", False),  # a colon is also a ratio
    ("101_2", "101", False),  # a subscript is dropped; between two bases it is compared
    ("100,200", "200,100", True),  # it is 100200
    (r"\sqrt{-4}", "2i", True),  # symbols are real where no i is in sight
    ("1000000", "1 million", True),  # numbers in words are no mathematics
    (r"\ln 2", r"\log 2", True),  # log is log10 here, and ln in much of the literature
]


@pytest.mark.parametrize("about", sorted({verdict["about"] for verdict in VERDICTS}))
def test_every_answer_has_its_verdict(about: str) -> None:
    wrong = [
        verdict
        for verdict in VERDICTS
        if verdict["about"] == about
        and score("math", verdict["gold"], verdict["completion"]).correct is not verdict["correct"]
    ]
    assert wrong == []


@pytest.mark.parametrize(("gold", "answer", "right"), KNOWN_DIFFERENCES)
def test_known_differences_are_still_there(gold: str, answer: str, right: bool) -> None:
    assert mathematics.equivalent(gold, answer) is not right, "mended: move it to the table of verdicts"


def test_every_gold_answer_of_the_table_is_readable() -> None:
    assert [gold for gold in sorted({verdict["gold"] for verdict in VERDICTS}) if not mathematics.readable(gold)] == []


@pytest.mark.parametrize("gold", [r"\text{no solution}", "east", r"\infty", r"\emptyset", "10:30", r"2516_8", "0"])
def test_an_answer_in_words_or_symbols_is_readable(gold: str) -> None:
    assert mathematics.readable(gold)


@pytest.mark.parametrize("gold", ["", " ", "\\", "{", "}", "???", "$$", r"\frac{1}{", ".", "\x00", "{}", "-"])
def test_garbage_is_not(gold: str) -> None:
    assert not mathematics.readable(gold)


@pytest.mark.parametrize(
    ("text", "box"),
    [
        (r"\boxed{1} or \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\boxed{3}}", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"$\boxed 5$ metres", "5"),
        (r"\boxed5", "5"),
        (r"\boxed{4}, and at last \fbox{5}", "5"),
        (r"$\boxed \frac{1}{2}$", r"\frac{1}{2}"),
        (r"\boxed{5}, in a \boxed environment", "5"),
        (r"\boxedness 5", None),
        (r"\boxed{5", None),
    ],
)
def test_the_last_box_is_the_answer(text: str, box: str | None) -> None:
    assert last_box(text) == box


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (r" $\displaystyle \tfrac{1}{2}$. ", r"\frac{1}{2}"),
        (r"1\,000\,000", "1000000"),
        ("3e8", r"3\times 10^{8}"),
        ("x²+½", r"x^{2}+\frac{1}{2}"),
        ("6 1/2", r"6\frac{1}{2}"),
        (r"\boxed{\{1,\,2\}}", r"\{1, 2\}"),
        (r"\{1\}", r"\{1\}"),
        (r"{1}+{2}", r"{1}+{2}"),
        ("3 > x \\ge 1", r"1 \le x < 3"),
        (r"\ge " * 300 + "<", (r"\ge " * 300 + "<")),
        ("0.5", "0.5"),
        ("", ""),
    ],
)
def test_notation_is_written_alike(text: str, plain: str) -> None:
    assert notation.plain(text) == plain


@given(st.text(max_size=60) | st.text(alphabet=r"\{}$.()1a,!; -/^_", max_size=60))
def test_written_alike_twice_is_written_alike_once(text: str) -> None:
    assert notation.plain(notation.plain(text)) == notation.plain(text)


@pytest.mark.parametrize(
    "text", [r"\frac{1}{2}", "x+1", r"\{1,2\}", "[1,2)", r"1<x<2", r"\sqrt[3]{x}", "(1,2)", "2(3)(4)", "a!"]
)
def test_the_quick_parse_is_the_thorough_one(text: str) -> None:
    quick = expressions.parsed(text, units=True)
    converter = latex2sympy2._Latex2Sympy(None, True, False)
    converter.thorough = True
    assert converter.parse(text) == quick[0]
