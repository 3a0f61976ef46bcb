r"""The last box of a completion: the one place that says where an answer is."""

from __future__ import annotations

import re

# Every repetition is bounded, so that no string makes the search quadratic.
_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,3}\{")
_BRACE = re.compile(r"\\.|[{}]", flags=re.DOTALL)  # an escaped brace is not a brace


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` whose braces match; None if there is none.

    Math-Verify would merge several boxes into one set, so the last is taken here.
    `last_box(r"\boxed{1} or \boxed{\frac{1}{2}}")` is `r"\frac{1}{2}"`.
    """
    start = None
    for opening in _BOX.finditer(text):
        start = opening.end()
    if start is None:
        return None
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[start : brace.start()].strip()
    return None
