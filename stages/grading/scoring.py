r"""The one definition of a correct answer, shared by GRPO's reward and the benchmark scores.

Two kinds of answers: `math` (the last `\boxed{...}`, compared by Math-Verify) and `letter` (of a multiple choice).
Everything here is a pure function of strings. `equivalent` may hang or eat memory on hostile mathematics, so it is
called in the worker processes of `stages.grading.pool` only; `extract` is linear in the length and safe anywhere.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

Kind = Literal["math", "letter"]

#: Characters of an answer that Math-Verify is given; a longer box is incorrect. The longest gold answer of the
#: benchmarks has fewer than 200, and the parser's time grows faster than the length.
MAX_ANSWER = 1_000

# Every repetition is bounded, so that no string makes the search quadratic.
_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{")
_LETTER_IN_BOX = re.compile(r"^\W{0,3}(?:\\(?:text|textbf|mathrm|mathbf)\s?\{)?\W{0,3}([A-Z])(?![A-Za-z])")
_LETTER_IN_PROSE = re.compile(r"[Aa]nswer(?:\s{1,3}is)?\s{0,3}:?\s{0,3}\*{0,2}\(?([A-Z])\)?(?![A-Za-z])")


@dataclass(frozen=True)
class Verdict:
    """What was taken for the answer (None if the completion gives none) and whether it is correct."""

    extracted: str | None
    correct: bool


def score(kind: Kind, gold: str, completion: str) -> Verdict:
    r"""Grade one completion.

    `score("math", "1/2", r"so \boxed{0.5}.")` is `Verdict("0.5", True)`; without a box it is `Verdict(None, False)`.
    """
    extracted = extract(kind, completion)
    return Verdict(extracted, extracted is not None and equivalent(kind, gold, extracted))


def extract(kind: Kind, completion: str) -> str | None:
    """The answer of a completion as it was written, or None."""
    return _EXTRACTORS[kind](completion)


def equivalent(kind: Kind, gold: str, answer: str) -> bool:
    """Whether `answer`, as `extract` returned it, says the same as `gold`."""
    if kind == "letter":
        return answer == gold.strip().strip("()").upper()
    if len(answer) > MAX_ANSWER:
        return False
    return _math_equivalent(gold, answer)


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` whose braces match; None if there is none.

    Math-Verify would merge several boxes into one set, so the last is taken here.
    `last_box(r"\boxed{1} or \boxed{\frac{1}{2}}")` is `r"\frac{1}{2}"`.
    """
    openings = list(_BOX.finditer(text))
    if not openings:
        return None
    start = openings[-1].end()
    depth = 1
    for brace in re.finditer(r"\\.|[{}]", text[start:], flags=re.DOTALL):  # an escaped brace is not a brace
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[start : start + brace.start()].strip()
    return None


def _letter(text: str) -> str | None:
    """The letter in the last box, else the last "answer is (X)"."""
    boxed = last_box(text)
    match = _LETTER_IN_BOX.match(boxed) if boxed is not None else None
    if match:
        return match.group(1)
    stated = _LETTER_IN_PROSE.findall(text)
    return stated[-1] if stated else None


_EXTRACTORS: dict[str, Callable[[str], str | None]] = {"math": last_box, "letter": _letter}


def _math_equivalent(gold: str, answer: str) -> bool:
    """Math-Verify on two boxed expressions; the order matters: gold first."""
    from math_verify import parse, verify  # sympy takes 0.4 s to import

    silence = logging.getLogger("math_verify")
    silence.setLevel(logging.ERROR)  # it warns that its timeouts are off
    # Its timeouts are signal alarms, which threads cannot have and C code does not hear: the pool kills instead.
    parsed = [
        parse(rf"\boxed{{{text}}}", extraction_config=[_latex()], parsing_timeout=None)  # type: ignore[arg-type]
        for text in (gold, answer)
    ]
    return bool(verify(*parsed, timeout_seconds=None))


@cache
def _latex() -> Any:
    r"""How Math-Verify reads a box: with its default normaliser, as verl's scorer has it (`\frac12` is 1/2)."""
    from math_verify import LatexExtractionConfig

    return LatexExtractionConfig(boxed_match_priority=0)
