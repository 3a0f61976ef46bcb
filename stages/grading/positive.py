r"""Roots and logarithms of variables, which stand for positive quantities: `\sqrt{h/g}` is `\frac{\sqrt{h}}{\sqrt{g}}`.

Math-Verify takes a variable for any real number, for which these differ. This is less strict than it, and so bounded.
An answer is the gold one, too, if Math-Verify says so when every variable is positive, and

- one of the two has a root, a logarithm or a fractional power of something with a variable;
- neither has an absolute value or a sign, which only matter where a variable is not positive;
- if such a root is left in no more than one of the two when the variables are positive (`\sqrt{x^2}` is `x` then), they
  also agree wherever the variables have other signs and both are defined in the real numbers: `x` is not `\sqrt{x^2}`,
  but `2\ln x` is `\ln(x^2)`.

It is asked for expressions, and for equations with a variable on the left (`t = \sqrt{h/g}`), not in sets or relations.
"""

from __future__ import annotations

from itertools import product
from typing import Any

from stages.grading.apart import are_apart

#: Variables of an expression up to which every combination of their signs is tried.
VARIABLES = 5


def positive(gold: Any, answer: Any) -> tuple[Any, Any] | None:
    """Both with positive variables, for Math-Verify to judge; None where the rule above does not hold."""
    from sympy import Abs, Eq, Expr, Symbol, arg, sign  # type: ignore[import-untyped]

    if isinstance(gold, Eq) and isinstance(answer, Eq) and gold.lhs != answer.lhs:
        return None
    one, other = _right_side(gold), _right_side(answer)
    if one is None or other is None or not all(isinstance(each, Expr) for each in (one, other)):
        return None
    if not (_roots(one) or _roots(other)) or one.has(Abs, sign, arg) or other.has(Abs, sign, arg):
        return None
    names = sorted({symbol.name for each in (one, other) for symbol in each.free_symbols})
    if len(names) > VARIABLES or are_apart(one, other):
        return None
    symbols = {name: Symbol(name, positive=True) for name in names}
    first, second = (
        each.subs({symbol: symbols[symbol.name] for symbol in each.free_symbols}).doit() for each in (one, other)
    )
    if not (_roots(first) and _roots(second)) and not _agree_elsewhere(one, other, names):
        return None
    return first, second


def _right_side(expression: Any) -> Any:
    from sympy import Eq, Symbol

    if isinstance(expression, Eq):
        return expression.rhs if isinstance(expression.lhs, Symbol) else None
    return expression


def _roots(expression: Any) -> list[Any]:
    """What has to be positive: bases of fractional powers, and arguments of logarithms, that have variables."""
    from sympy import Pow, log

    bases = [power.base for power in expression.atoms(Pow) if not power.exp.is_integer and not power.exp.free_symbols]
    bases += [logarithm.args[0] for logarithm in expression.atoms(log)]
    return [base for base in bases if base.free_symbols]


def _agree_elsewhere(one: Any, other: Any, names: list[str]) -> bool:
    """Whether two expressions agree for all signs of their variables for which both are real."""
    from sympy import Rational, Symbol

    for signs in product((1, -1), repeat=len(names)):
        sizes = {
            name: sign * Rational(7 + 3 * place, 5) for place, (name, sign) in enumerate(zip(names, signs, strict=True))
        }
        values = []
        for each in (one, other):
            point = {symbol: sizes[symbol.name] for symbol in each.free_symbols if isinstance(symbol, Symbol)}
            if any(base.subs(point).doit().is_positive is not True for base in _roots(each)):
                break
            values.append(each.subs(point))
        else:
            if are_apart(*values):
                return False
    return True
