r"""The last box of a completion: the one place that says where an answer is."""

from __future__ import annotations

import re

# Every repetition is bounded, so that no string makes the search quadratic. Without braces a box holds what looks like
# mathematics, not the words that follow the name of the command in a sentence.
_BOX = re.compile(r"\\(?:boxed|fbox)(?:\s{0,3}(?P<braced>\{)|(?![a-zA-Z])\s{0,3}(?=[-+.(\d]|\\[a-zA-Z]))")
_BRACE = re.compile(r"\\.|[{}]", flags=re.DOTALL)  # an escaped brace is not a brace
_BARE_END = re.compile(r"\$|\n|\\\)|\\\]|$")
_BARE = 200  # characters


def last_box(text: str) -> str | None:
    r"""The content of the last `\boxed{...}` whose braces match; None if there is none.

    `\fbox{...}` is a box too, as in MATH's own script. Math-Verify would merge several into one set; the last counts.
    `last_box(r"\boxed{1} or \boxed{\frac{1}{2}}")` is `r"\frac{1}{2}"`. Without braces it ends where the mathematics
    does, as in MATH's own script: `last_box(r"$\boxed 5$")` is `"5"`.
    """
    last = None
    for last in _BOX.finditer(text):  # noqa: B007
        pass
    if last is None:
        return None
    start = last.end()
    if not last["braced"]:
        bare = text[start : start + _BARE]
        end = _BARE_END.search(bare)
        return bare[: end.start()].strip() if end else None
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0:
            return text[start : brace.start()].strip()
    return None
