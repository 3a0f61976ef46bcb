r"""Mathematical answers: the last `\boxed{...}` of a completion, compared with the gold answer by Math-Verify.

`last_box` is linear in the length of a text and safe anywhere. `equivalent` and `readable` may hang or eat memory on
hostile mathematics, so they are called in the worker processes of `stages.grading.pool` only.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import Any

#: Characters of an answer that Math-Verify is given; a longer box is incorrect. The longest gold answer of the
#: benchmarks has fewer than 200, and the parser's time grows faster than the length.
MAX_ANSWER = 1_000

# Every repetition is bounded, so that no string makes the search quadratic.
_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{")


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


def equivalent(gold: str, answer: str) -> bool:
    """Whether an answer equals the gold one, by Math-Verify on two boxed expressions; the order matters: gold first."""
    from math_verify import verify  # sympy takes 0.4 s to import

    return bool(verify(_parsed(gold), _parsed(answer), timeout_seconds=None))


def readable(gold: str) -> bool:
    """Whether Math-Verify finds anything in a gold answer."""
    return bool(_parsed(gold))


def _parsed(text: str) -> list[Any]:
    from math_verify import parse

    silence = logging.getLogger("math_verify")
    silence.setLevel(logging.ERROR)  # it warns that its timeouts are off
    # Its timeouts are signal alarms, which threads cannot have and C code does not hear: the pool kills instead.
    found: list[Any] = parse(
        rf"\boxed{{{text}}}",
        extraction_config=[_latex()],  # type: ignore[arg-type]
        parsing_timeout=None,
    )
    return found


@cache
def _latex() -> Any:
    r"""How Math-Verify reads a box: with its default normaliser, as verl's scorer has it (`\frac12` is 1/2)."""
    from math_verify import LatexExtractionConfig

    return LatexExtractionConfig(boxed_match_priority=0)
