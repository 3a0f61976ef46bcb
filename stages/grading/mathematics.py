"""Mathematical answers: what is in a box, compared with the gold answer by Math-Verify.

Both functions may hang or eat memory on hostile mathematics, so they are called in the worker processes of
`stages.grading.pool` only.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

#: Characters of an answer that Math-Verify is given; a longer box is incorrect. The longest gold answer of the
#: benchmarks has fewer than 200, and the parser's time grows faster than the length.
MAX_ANSWER = 1_000


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
