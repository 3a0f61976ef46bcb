r"""Sets of solutions, as an interval, as inequalities or in parts: `x \in [2,3)`, `2 \le x < 3`, `x \ge 2 and x < 3`.

Math-Verify takes an interval for an inequality where the gold answer is the inequality, and refuses the reverse. Here
is what it lacks, which is less strict than it: where the *gold answer names its variable*, both are read as sets of
real numbers, and Math-Verify compares the sets. An answer with a variable has to have the same one. A bare interval as
the gold answer still takes no inequality, as Math-Verify intends. In one thing this is stricter: to Math-Verify `and`
and `or` are one.

Read are chains of a variable and numbers (`-3 < x \le 5`), `x \in` a set, and those joined by `and` (the common part)
or `or` (the union), in words or as `\land`, `\lor`, `\cup`. A comma joins nothing: it is either.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from stages.grading import expressions

_IN = re.compile(r"\s*([a-zA-Z]|\\[a-z]{2,8})\s*\\in(?![a-zA-Z])(.*)", flags=re.DOTALL)
_WORD = (
    r"(?:\s*\\(?:text|mathrm|textrm|mbox)\s?\{{\s*{0}\s*\}}\s*|(?<=[\s\d)\]}}])\s*{0}\s+(?=\S)|\s*\\{1}(?![a-zA-Z])\s*)"
)
_OR, _AND = re.compile(_WORD.format("or", "lor")), re.compile(_WORD.format("and", "land"))
_UNION = re.compile(r"\s*(?:\\cup(?![a-zA-Z])|∪)\s*(?=[^()\[\]]{1,40}(?:<|>|\\[lg]))")
_RELATION = re.compile(r"<|>|\\(?:le|ge|leq|geq|lt|gt|leqslant|geqslant)(?![a-zA-Z])|\\in(?![a-zA-Z])|≤|≥")
#: Parts of an answer that are joined.
PARTS = 8


def is_joined(text: str) -> bool:
    """Whether parts of it are joined by `and` or `or`."""
    return any(pattern.search(text) for pattern in (_OR, _AND, _UNION))


def sets(gold: str, answer: str) -> tuple[Any, Any] | None:
    """Two sets of solutions for Math-Verify to compare; None where that is not how these answers are compared."""
    if not _RELATION.search(gold):
        return None
    expected = _solutions(gold)
    if expected is None or expected[0] is None:
        return None
    found = _solutions(answer)
    if found is None or found[0] not in (None, expected[0]):
        return None
    return expected[1], found[1]


def _solutions(text: str) -> tuple[str | None, Any] | None:
    """The variable of an answer (None: a set without one) and the set of its values."""
    from sympy import Union  # type: ignore[import-untyped]

    text = _UNION.sub(r" \\lor ", text)
    parts = _OR.split(text)[: PARTS + 1]
    return _joined([_common(part) for part in parts], Union)


def _joined(parts: Sequence[tuple[str | None, Any] | None], join: Any) -> tuple[str | None, Any] | None:
    """What parts with one variable are together; None if one of them was not read, or there are too many."""
    read = [part for part in parts if part is not None]
    names = {name for name, _ in read}
    if len(read) < len(parts) or len(parts) > PARTS or len(names) != 1:
        return None
    return names.pop(), join(*(values for _, values in read))


def _common(text: str) -> tuple[str | None, Any] | None:
    from sympy import Intersection

    parts = _AND.split(text)
    return _joined([_part(part) for part in parts[: PARTS + 1]], Intersection)


def _part(text: str) -> tuple[str | None, Any] | None:
    """An interval, a variable in one, or a chain of inequalities with one variable."""
    from sympy import Intersection, Set, Symbol

    member = _IN.fullmatch(text)
    if member is not None:
        name, values = expressions.parsed(member[1], units=False)[:1], expressions.parsed(member[2], units=False)[:1]
        if not (name and values and isinstance(name[0], Symbol) and isinstance(values[0], Set)):
            return None
        return name[0].name, values[0]
    if not (found := expressions.parsed(text.strip(), units=False)) or isinstance(found[0], str):
        return None
    if isinstance(found[0], Set):
        return (None, found[0]) if not found[0].free_symbols else None
    links = [_ray(relation) for relation in getattr(found[0], "_unsorted_args", [found[0]])]
    return _joined(links, Intersection)


def _ray(relation: Any) -> tuple[str, Any] | None:
    """The values of a variable that are above or below a number."""
    from sympy import GreaterThan, Interval, LessThan, StrictGreaterThan, StrictLessThan, Symbol, oo

    if not isinstance(relation, GreaterThan | LessThan | StrictGreaterThan | StrictLessThan):
        return None
    strict = isinstance(relation, StrictGreaterThan | StrictLessThan)
    for variable, bound in ((relation.lts, relation.gts), (relation.gts, relation.lts)):
        if isinstance(variable, Symbol) and not bound.free_symbols and bound.is_extended_real:
            above = variable == relation.gts
            ray = Interval(bound, oo, left_open=strict) if above else Interval(-oo, bound, right_open=strict)
            return variable.name, ray
    return None
