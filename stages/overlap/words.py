"""Words: what of a text is compared.

A word is a run of letters and digits, of any script, in lower case. Punctuation, white space and case do not count, as
in GPT-3's appendix C and in lm-evaluation-harness; but there a word ends at white space alone, so that `\\frac{1}{2}`
is one and `\\frac{1} {2}` are two. Here both are `frac`, `1` and `2`: how a formula is spaced does not matter.
"""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")


def question(text: str) -> str:
    """What two whole questions are compared by: their characters, but for case, white space and what ends a sentence.

    Signs count here: `1 + 2` and `1 - 2` have the same words, and are two questions.
    """
    return "".join(unicodedata.normalize("NFKC", text).lower().split()).rstrip(".?!")


def words(text: str) -> list[str]:
    """The words of a text: those of `"Let $x_1 = 3$."` are `let`, `x`, `1` and `3`.

    Characters that are the same in another form (NFKC) are equal: a full-width digit and its ASCII one.
    """
    return _WORD.findall(unicodedata.normalize("NFKC", text).lower())
