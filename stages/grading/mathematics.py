r"""Whether a mathematical answer equals the gold one, by Math-Verify on two boxed expressions.

Both are written alike first (`notation`), and what needs no parser is decided without: equal texts, two plain numbers
(`numerals`), words. `equivalent` and `readable` may hang or eat memory on hostile mathematics, so they are called in
the worker processes of `stages.grading.pool` only.

Nothing around Math-Verify is less strict than it, but for rules that are written down where they are: how numbers and
signs may be written (`notation`, `numerals`), roots of positive quantities (`positive`) and sets of solutions
(`solutions`). It is stricter in values that are close (`apart`), in the case of variables (`judge`) and in the order of
letters (`words`).
"""

from __future__ import annotations

import re

from stages.grading import expressions, judge, notation, numerals, solutions, words

#: Characters of an answer that Math-Verify is given; a longer box is incorrect. The longest gold answer of the
#: benchmarks has fewer than 200, and the parser's time grows faster than the length.
MAX_ANSWER = 1_000

# Math-Verify drops the base, and divides the hours by the minutes.
_BASED = re.compile(r"([\dA-Fa-f]+)_\s?\{?(\d+)\}?")
_CLOCK = re.compile(r"\d{1,2}:[0-5]\d")
_ANSWER_IN_WORDS = re.compile(r"(?:^|[,;(\[{])\s*\\(?:text|textbf|textrm|mathrm|mbox)\s?\{\s*[a-zA-Z]")
# What is left when commands, and the words in them, are gone: a letter here is a variable.
_WORDLESS = re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox)\s?\{[^{}]*\}|\\[a-zA-Z]+|\\.")


def equivalent(gold: str, answer: str) -> bool:
    """Whether an answer equals the gold one; the order matters: gold first."""
    one, other = notation.plain(gold), notation.plain(answer)
    if not one or not other:
        return False
    if one == other:
        return True
    if (decided := words.verdict(one, other)) is not None:
        return decided
    for exact in (_BASED, _CLOCK):
        if exact.fullmatch(one) and exact.fullmatch(other):
            return re.sub(r"[{}\s]", "", one) == re.sub(r"[{}\s]", "", other)
    number, of_answer = (numerals.read(notation.without_unit(text)) for text in (one, other))
    if number is not None and of_answer is not None and (sure := numerals.equal(number, of_answer)) is not None:
        return sure
    sets = solutions.sets(one, other)
    if sets is not None and (solutions.is_joined(one) or solutions.is_joined(other)):
        return judge.verified([sets[0]], [sets[1]])
    return verified(*words.opaque(one, other)) or (sets is not None and judge.verified([sets[0]], [sets[1]]))


def verified(gold: str, answer: str) -> bool:
    """What Math-Verify says. Where gold has variables it drops no units: to it the `ab` of `2ab` is one."""
    units = _has_units(gold)
    if not units:
        gold, answer = notation.without_unit(gold), notation.without_unit(answer)
    return expressions.equal(gold, answer, units)


def readable(gold: str) -> bool:
    """Whether a gold answer is one: Math-Verify finds something in it, or it is at least words that can be compared."""
    text = notation.plain(gold)
    if numerals.read(notation.without_unit(text)) is not None:
        return True
    if not _balanced(text) or not any(map(str.isalnum, text)):
        return False
    units = _has_units(text)
    return bool(expressions.parsed_gold(text if units else notation.without_unit(text), units))


def _has_units(gold: str) -> bool:
    """Whether words and letters in a gold answer are units: it has no variable, and no words that are the answer."""
    return not _ANSWER_IN_WORDS.search(gold) and not re.search("[a-zA-Z]", _WORDLESS.sub("", gold))


def _balanced(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"\\.|[{}]", text, flags=re.DOTALL):
        depth += {"{": 1, "}": -1}.get(brace, 0)
        if depth < 0:
            return False
    return depth == 0
