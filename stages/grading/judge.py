r"""Math-Verify's judge, made stricter; it accepts more than Math-Verify by one rule, that of `stages.grading.positive`.

- Values that are apart (`stages.grading.apart`) are not equal, also within sets, tuples, intervals, relations and
  matrices.
- A variable keeps its case: `R` is not `r`, `\Delta` not `\delta`, `x_A` not `x_a`, `E` not the number e, and so
  `X = 5` is not `x = 5`, as `y = 5` is not. Words (of letters only, at least two, no name of a Greek letter) are free
  of case.
- `\Gamma` is a variable of its own, where Math-Verify takes both for Euler's constant.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from stages.grading.apart import are_apart
from stages.grading.positive import positive


def verified(gold: list[Any], answer: list[Any], *, sets_for_relations: bool = False) -> bool:
    """Whether an answer, as Math-Verify parsed it, is the gold one."""
    from math_verify import verify

    make_strict()
    # Its timeouts are signal alarms, which threads cannot have and C code does not hear: the pool kills instead.
    if verify(gold, answer, timeout_seconds=None, allow_set_relation_comp=sets_for_relations):
        return True
    pair = positive(gold[0], answer[0]) if gold and answer else None
    return pair is not None and bool(verify(*pair, timeout_seconds=None))


@cache
def make_strict() -> None:
    """Put the stricter rules in place of Math-Verify's own, once in a process."""
    from latex2sympy2_extended import latex2sympy2, symbols
    from math_verify import grader, parser

    keep_case = latex2sympy2.ConversionConfig(lowercase_symbols=False)
    parser.latex2sympy = partial(latex2sympy2.latex2sympy, conversion_config=keep_case)
    symbols.sympy_singleton_map.pop("Gamma", None)

    numeric, symbolic = grader.sympy_numeric_eq, grader.sympy_symbolic_eq
    grader.sympy_numeric_eq = lambda one, other, *places: not _apart(one, other) and numeric(one, other, *places)
    grader.sympy_symbolic_eq = lambda one, other: not _apart(one, other) and symbolic(one, other)
    grader.sympy_compare_symbols = partial(_same_symbols, grader.sympy_compare_symbols)


def _apart(one: Any, other: Any) -> bool:
    from sympy import Expr  # type: ignore[import-untyped]

    return isinstance(one, Expr) and isinstance(other, Expr) and are_apart(one, other)


def _same_symbols(math_verify: Any, one: Any, other: Any) -> bool:
    """Math-Verify's rule, in which case does not count for symbols of more than one character, but for words only."""
    from sympy import E, Symbol

    if not math_verify(one, other):
        return False
    names: list[str] = [each.name for each in (one, other) if isinstance(each, Symbol)]
    if len(names) == 2:
        return names[0] == names[1] or all(map(_is_word, names))
    if E in (one, other):
        return names == ["e"]
    [factors] = [each.args for each in (one, other) if not isinstance(each, Symbol)]
    return names == ["".join("e" if factor == E else str(factor) for factor in factors)]


def _is_word(name: str) -> bool:
    return name.isalpha() and len(name) > 1 and name.lower() not in _greek()


@cache
def _greek() -> frozenset[str]:
    from latex2sympy2_extended.symbols import GREEK_LETTER_MAP

    return frozenset(name.lower() for name in GREEK_LETTER_MAP.values())
