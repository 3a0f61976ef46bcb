"""The one definition of a correct answer, shared by GRPO's reward and the benchmark scores.

An answer is read from a completion (`extract`, safe on any string) and compared with the gold one (`equivalent`, which
may hang on hostile mathematics: only the worker processes of `stages.grading.pool` call it).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.grading import letters, mathematics
from stages.grading.boxes import last_box

#: How an answer is read and compared: mathematics, or the letter of a choice in one of four ways (`letters`).
Kind = Literal["math", "letter", "mmlu_pro", "gpqa", "arc"]


_LETTERS = {"letter": letters.letter, "mmlu_pro": letters.mmlu_pro, "gpqa": letters.gpqa, "arc": letters.arc}


@dataclass(frozen=True)
class Verdict:
    """What was taken for the answer (None if the completion gives none) and whether it is correct."""

    extracted: str | None
    correct: bool


def score(kind: Kind, gold: str, completion: str, options: Sequence[str] | None = None) -> Verdict:
    r"""Grade one completion.

    `score("math", "1/2", r"so \boxed{0.5}.")` is `Verdict("0.5", True)`; without a box it is `Verdict(None, False)`.
    """
    extracted = extract(kind, completion, options)
    return Verdict(extracted, extracted is not None and equivalent(kind, gold, extracted))


def extract(kind: Kind, completion: str, options: Sequence[str] | None = None) -> str | None:
    """The answer of a completion as it was written, or its letter; None if there is none. `options` are of a choice."""
    return last_box(completion) if kind == "math" else _LETTERS[kind](completion, options)


def equivalent(kind: Kind, gold: str, answer: str) -> bool:
    """Whether `answer`, as `extract` returned it, says the same as `gold`."""
    if kind != "math":
        return answer == letters.gold(gold)
    return len(answer) <= mathematics.MAX_ANSWER and mathematics.equivalent(gold, answer)


def readable(kind: Kind, gold: str) -> bool:
    """Whether a gold answer is one: it parses, or is a letter."""
    return letters.gold(gold) is not None if kind != "math" else mathematics.readable(gold)
