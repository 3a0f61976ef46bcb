r"""Numbers as people write them, and whether two of them are one, without a parser: the ordinary case, and quick.

Only what is sure is decided here, and never less strictly than by Math-Verify: two numbers are one if they are exactly
equal, and are not if both are exact, or they differ by more than any rounding hides. All between is for Math-Verify,
which rounds decimals to six places (1/3 is 0.333333, and is not 0.33; 27 is not 27.0000001). Of the tiny six digits
have to agree (`stages.grading.apart`): six places would make 1.6e-19 and 9.1e-31 equal.

One rule is less strict than Math-Verify, which has it for integers only: a percent sign may be missing, or be there
too many, so that `12.5\%` is 12.5, where the two are exactly equal and the gold answer has the sign or is 1 or more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

#: As in `stages.grading.apart`.
TINY = Fraction(1, 1000)
PLACES = SHARE = Fraction(101, 10**8)

_POWER = (
    r"(?:\s{0,3}(?:\\times|\\cdot|\*)\s{0,3}10\s{0,2}\^\s{0,2}"
    r"(?:\{\s{0,2}(?P<braced>[+-]?\d{1,3})\s{0,2}\}|(?P<power>[+-]?\d)))"
)
_DECIMAL = re.compile(
    rf"(?P<sign>[+-]?)\s{{0,3}}(?P<whole>\d{{1,3}}(?:,\d{{3}}){{1,9}}|\d{{0,40}})(?P<places>\.\d{{0,40}})?{_POWER}?"
)
_FRACTION = re.compile(
    r"(?P<sign>[+-]?)\s{0,3}"
    r"(?:(?P<whole>\d{1,40})?\s{0,2}\\frac\s{0,2}"
    r"(?:\{\s{0,2}(?P<over>\d{1,40})\s{0,2}\}\s{0,2}\{\s{0,2}(?P<under>\d{1,40})\s{0,2}\}"
    r"|(?P<a>\d)\s{0,2}(?P<b>\d))"
    r"|(?P<c>\d{1,40})\s{0,2}/\s{0,2}(?P<d>\d{1,40}))"
)
_PERCENT = re.compile(r"\s?\\%$")


@dataclass(frozen=True)
class Number:
    """A number; `rounded` if it was written with a decimal point or a power of ten, `percent` if with that sign."""

    value: Fraction
    rounded: bool
    percent: bool = False


def read(text: str) -> Number | None:
    r"""`read(r"1,234.5")`, `read(r"6\frac{1}{2}")` and `read(r"50\%")` are numbers; else None."""
    if not text.isascii():
        return None
    if _PERCENT.search(text):
        number = _read(_PERCENT.sub("", text))
        return None if number is None else replace(number, percent=True)
    return _read(text)


def equal(gold: Number, answer: Number) -> bool | None:
    """Whether two numbers are one; None where Math-Verify has to say.

    With one percent sign between them, 50 % is 50 and is 0.5, but 0.2 is not 0.2 %.
    """
    if gold.percent == answer.percent:
        return _same(gold, answer)
    if gold.value == answer.value and (gold.percent or abs(gold.value) >= 1):
        return True
    return _same(*(replace(each, value=each.value / 100) if each.percent else each for each in (gold, answer)))


def _read(text: str) -> Number | None:
    if match := _FRACTION.fullmatch(text):
        over, under = (int(match[name] or match[short] or match[slash]) for name, short, slash in _PARTS)
        whole = int(match["whole"] or 0)
        if not under or (match["whole"] and over >= under):  # a mixed number, or a product?
            return None
        value = whole + Fraction(over, under)
        return Number(-value if match["sign"] == "-" else value, False)
    match = _DECIMAL.fullmatch(text)
    if match is None or not (match["whole"] or len(match["places"] or "") > 1):
        return None
    power = match["braced"] or match["power"]
    mantissa = Fraction(Decimal((match["whole"].replace(",", "") or "0") + (match["places"] or "").rstrip(".")))
    value = mantissa * Fraction(10) ** int(power or 0)
    return Number(-value if match["sign"] == "-" else value, bool(match["places"] or power))


_PARTS = [("over", "a", "c"), ("under", "b", "d")]


def _same(gold: Number, answer: Number) -> bool | None:
    one, other = gold.value, answer.value
    if one == other or not (gold.rounded or answer.rounded):
        return one == other
    difference, smallest, largest = abs(one - other), *sorted((abs(one), abs(other)))
    if difference > PLACES or (smallest < TINY and difference > SHARE * largest):
        return False
    return None
