r"""Whether two expressions have different values: what keeps Math-Verify from calling them equal when they are close.

Math-Verify rounds: to six places beside a decimal, and else to about 1e-15, so that to it 1/2^99 is 1/2^98. Here is the
stricter rule, which never makes two expressions equal:

- Two exact numbers are apart if they differ at all (`DIGITS` are computed, and whole numbers compared).
- Beside a decimal, numbers are apart by Math-Verify's six places, and where one of them is below `TINY` by six digits.
- Expressions with variables are apart if their values are at a point, where each variable is a positive number.

Nothing here raises, whatever the size of a number, and all of it ends with the deadline of a worker only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

#: Significant digits to which the difference of two exact values is computed before they count as equal.
DIGITS = 600
#: Digits of an integral, a sum or a limit, and by what share of them two values are apart.
ROUGH_DIGITS, ROUGH = 15, 1e-4
#: Below this a number of six places has fewer than three digits, so that six digits are asked for.
TINY = 1e-3
#: Two values that Math-Verify rounds to the same six places differ by less.
PLACES = 1.01e-6
#: A share of the larger one: six digits, for the tiny; and what the rounding of a large decimal may come to.
SHARE, NOISE = 1.01e-6, 1e-12
#: Bits of a difference that is one; of a difference that may be zero, none are known.
_KNOWN_BITS = 8


@lru_cache(maxsize=1_000)
def are_apart(one: Any, other: Any) -> bool:
    """Whether two expressions have different values. Not if that cannot be told, as of percentages and functions."""
    from sympy import Expr, Float, UnevaluatedExpr  # type: ignore[import-untyped]  # sympy takes 0.4 s to import

    if one == other or not all(isinstance(each, Expr) for each in (one, other)):
        return False
    if any(each.has(UnevaluatedExpr) for each in (one, other)):  # a percentage, which may be its number
        return False
    try:
        first, second = _at_a_point(one), _at_a_point(other)
        if _is_rough(one) or _is_rough(other):
            return _by_share(first, second, ROUGH, ROUGH_DIGITS)
        if not (one.has(Float) or other.has(Float)):
            return _exactly(first, second)
        if one.free_symbols or other.free_symbols:
            return _by_share(first, second, SHARE)
        return _by_places(first, second)
    except (TypeError, ValueError, ArithmeticError, AttributeError, NotImplementedError):  # no number comes of it
        return False


def _at_a_point(expression: Any) -> Any:
    """With a positive number for each variable, by its name, and decimals as the fractions that were written."""
    from sympy import Derivative, Float, Rational

    # Of a variable that is a function of nothing the derivative would be 0, and dV/dt any other.
    unknown = {rate: _coordinate(str(rate)) for rate in expression.atoms(Derivative) if rate.expr.is_Symbol}
    values = {symbol: _coordinate(symbol.name) for symbol in expression.free_symbols}
    decimals = {number: Rational(str(number)) for number in expression.atoms(Float)}
    return expression.xreplace({**values, **decimals, **unknown})


@lru_cache(maxsize=1_000)
def _coordinate(name: str) -> Any:
    """A fraction between a half and two that only this name has; the same in every process."""
    from zlib import crc32

    from sympy import Rational

    return Rational(500_009 + crc32(name.encode()) % 1_499_977, 1_000_003)


def _is_rough(expression: Any) -> bool:
    from sympy import Derivative, Integral, Limit, Product, Sum

    return bool(expression.has(Integral, Sum, Product, Limit, Derivative))


def _exactly(one: Any, other: Any) -> bool:
    value = (one - other).evalf(15, maxn=DIGITS)
    if any(part != 0 and part._prec >= _KNOWN_BITS for part in value.as_real_imag() if part.is_Float):
        return True
    # As good as equal; whole numbers of more digits can be told for sure.
    whole, second = one.doit(), other.doit()
    return bool(whole.is_Rational and second.is_Rational and whole != second)


def _by_share(one: Any, other: Any, share: float, digits: int = 30) -> bool:
    first, second = _value(one, digits), _value(other, digits)
    return bool(abs(first - second) > share * max(abs(first), abs(second)))


def _by_places(one: Any, other: Any) -> bool:
    first, second = _value(one), _value(other)
    largest = max(abs(first), abs(second))
    if min(abs(first), abs(second)) < TINY:
        return bool(abs(first - second) > SHARE * largest)
    return bool(abs(first - second) > max(PLACES, NOISE * largest))


def _value(expression: Any, digits: int = 30) -> Any:
    """Its value, a number of mpmath, which have no largest one."""
    return expression.evalf(digits)._to_mpmath(100)
