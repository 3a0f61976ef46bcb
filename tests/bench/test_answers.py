"""Answers for the grading benchmark: as many as are asked for, all different, and what they are taken for."""

import random

import pytest

from bench.answers import HANGS, KINDS, hostile, ordinary
from stages.grading import scoring


def test_ordinary_answers_are_distinct_and_have_the_verdict_that_they_were_made_for() -> None:
    lines = list(ordinary(60))
    assert len({line.completion for line in lines}) == 60
    assert {line.correct for line in lines} == {True, False}
    for line in lines:
        assert scoring.score("math", line.gold, line.completion).correct is line.correct, line


def test_hostile_answers_hold_as_many_of_the_endless_kinds_as_asked() -> None:
    assert KINDS.keys() > HANGS
    assert len(list(hostile(60, 9))) == 60
    assert list(hostile(60, 9)) == list(hostile(60, 9))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_reading_any_hostile_answer_is_linear(kind: str) -> None:
    answer = rf"\boxed{{{KINDS[kind](random.Random(0))}}}"
    for reader in ("math", "letter", "mmlu_pro", "gpqa", "arc"):
        scoring.extract(reader, answer, ["a", "b"])  # type: ignore[arg-type]  # ends: the suite has a time limit
