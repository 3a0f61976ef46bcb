r"""Answers to grade: ordinary ones, whose verdicts are known because they were made from them, and hostile ones.

A hostile answer is a string that a model in training may well write, and that hangs, fills or breaks a parser. There
are kinds of them, of random sizes, so any number can be made. Those of `HANGS` mostly took Math-Verify 0.9 more than
the seconds that an answer is given, where two of each were tried on one core; the others ended in about one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice


@dataclass(frozen=True)
class Line:
    """A gold answer, a completion, and the right verdict; None where there is none to know."""

    gold: str
    completion: str
    correct: bool | None


def ordinary(count: int, seed: int = 0) -> Iterator[Line]:
    """Distinct answers of the shapes that benchmarks have, half of them right; two thirds are numbers."""
    draw = random.Random(seed)
    for number in range(count):
        a, b, c = number + 2, draw.randint(2, 99), draw.randint(2, 9)
        right = draw.random() < 0.5
        off = 0 if right else draw.randint(1, 9)
        make = draw.choice(_NUMBERS if draw.random() < 2 / 3 else _EXPRESSIONS)
        gold, answer = make(a, b, c, off)
        yield Line(gold, rf"First {a}, then {b}. So the answer is $\boxed{{{answer}}}$.", right)


_NUMBERS: list[Callable[[int, int, int, int], tuple[str, str]]] = [
    lambda a, b, c, off: (f"{a * b}", f"{a * b + off}"),
    lambda a, b, c, off: (f"{a * 1000:,}", rf"{a * 1000 + off}"),
    lambda a, b, c, off: (rf"\frac{{{a}}}{{{a + 1}}}", rf"\dfrac{{{2 * a}}}{{{2 * a + 2 + off}}}"),
    lambda a, b, c, off: (f"{a}.{b:02d}", rf"{a + off}.{b:02d}0"),
]

_EXPRESSIONS: list[Callable[[int, int, int, int], tuple[str, str]]] = [
    lambda a, b, c, off: (rf"{a}\sqrt{{{c}}}", rf"\sqrt{{{a * a * c + off}}}"),
    lambda a, b, c, off: (f"({a}, {b})", f"({a},{b + off})"),
    lambda a, b, c, off: (f"{a},{-b}", rf"\{{{-b - off}, {a}\}}"),
    lambda a, b, c, off: (f"x^2+{a + b}x+{a * b}", f"(x+{a})(x+{b + off})"),
    lambda a, b, c, off: (
        (rf"[{-b},{a}) \cup ({a + 1},\infty)", rf"[{-b},{a + off}) \cup ({a + 10},\infty)")
        if off
        else (rf"[{-b},{a})", rf"\left[{-b}, {a}\right)")
    ),
    lambda a, b, c, off: (rf"\frac{{{a}\pi}}{{{c}}}", rf"\frac{{{a + off}}}{{{c}}}\pi"),
    lambda a, b, c, off: (f"y={a}x+{b}", f"y = {b + off} + {a}x"),
]


def hostile(count: int, hangs: int, seed: int = 0) -> Iterator[Line]:
    """`count` answers, `hangs` of them of the kinds that do not end, spread among the others."""
    draw = random.Random(seed)
    ends = [make for name, make in KINDS.items() if name not in HANGS]
    endless = [KINDS[name] for name in sorted(HANGS)]
    made = [make(draw) for make in [*islice(cycle(endless), hangs), *islice(cycle(ends), count - hangs)]]
    draw.shuffle(made)
    for number, answer in enumerate(made):
        yield Line(str(number), rf"\boxed{{{answer}}}", None)


def _nested(draw: random.Random, opening: str, closing: str, low: int, high: int) -> str:
    depth = draw.randint(low, high)
    return opening * depth + str(draw.randint(2, 99)) + closing * depth


def _tower(draw: random.Random) -> str:
    return _nested(draw, f"{draw.randint(7, 99)}^{{", "}", 3, 6)


def _soup(draw: random.Random) -> str:
    pieces = [
        r"\frac",
        "{",
        "}",
        r"\sqrt",
        "^",
        "_",
        "(",
        ")",
        "&",
        r"\\",
        r"\left",
        r"\right",
        "$",
        "%",
        "1",
        "x",
        " ",
        ",",
    ]
    return "".join(draw.choices(pieces, k=draw.randint(20, 400)))


#: The kinds, each a function that draws one.
KINDS: dict[str, Callable[[random.Random], str]] = {
    "tower": _tower,
    "factorial": lambda d: f"{d.randint(10**8, 10**12)}!",
    "binomial": lambda d: rf"\binom{{{d.randint(10**8, 10**9)}}}{{{d.randint(10**6, 10**7)}}}",
    "power": lambda d: f"{d.randint(10**8, 10**9)}^{{{d.randint(10**9, 10**10)}}}",
    "nested radicals": lambda d: _nested(d, r"\sqrt{1+", "}", 5, 60),
    "nested fractions": lambda d: _nested(d, r"\frac{1}{1+", "}", 10, 60),
    "fractions": lambda d: _nested(d, r"\frac{1}{1+", "}", 2, 5),
    "nested braces": lambda d: _nested(d, "{", "}", 100, 450),
    "a million braces": lambda d: _nested(d, "{", "}", 400_000, 500_000),
    "nested parentheses": lambda d: _nested(d, "(", ")", 20, 300),
    "parentheses": lambda d: _nested(d, "(", ")", 2, 6),
    "megabyte": lambda d: f"{d.randint(1, 9)}+" * 500_000 + "1",
    "megabyte of digits": lambda d: str(d.randint(1, 9)) * 1_000_000,
    "digits": lambda d: str(d.randint(1, 9)) * d.randint(400, 990),
    "unbalanced": lambda d: "{" * d.randint(1, 200) + "7",
    "matrix": lambda d: r"\begin{pmatrix}" + r"\\".join(["&".join("x" * 9)] * d.randint(9, 30)) + r"\end{pmatrix}",
    "sum": lambda d: rf"\sum_{{k=1}}^{{{d.randint(10**7, 10**9)}}} \frac{{1}}{{k^{d.randint(2, 9)}+k}}",
    "product": lambda d: rf"\prod_{{k=1}}^{{{d.randint(10**5, 10**9)}}} (k^2+{d.randint(1, 9)})",
    "integral": lambda d: rf"\int_0^{{{d.randint(10**5, 10**9)}}} \sin(x^{{{d.randint(3, 9)}}}) e^{{-x^2}} dx",
    "factors": lambda d: "*".join(f"(x+{d.randint(1, 99)})^{{{d.randint(9, 99)}}}" for _ in range(d.randint(3, 20))),
    "long sum": lambda d: "+".join(f"x^{{{d.randint(1, 999)}}}" for _ in range(d.randint(20, 120))),
    "commas": lambda d: ",".join(str(d.randint(1, 9)) for _ in range(d.randint(50, 400))),
    "spaces": lambda d: "7" + " " * d.randint(200, 900) + "x",
    "texts": lambda d: r"7\text{ " * d.randint(20, 120) + "}",
    "surrogate": lambda d: chr(d.randint(0xD800, 0xDFFF)) + str(d.randint(0, 9)),
    "null bytes": lambda d: "7" + "\x00" * d.randint(1, 300),
    "control characters": lambda d: "".join(chr(d.randint(0, 31)) for _ in range(d.randint(1, 300))),
    "other digits": lambda d: "".join(chr(0x660 + d.randint(0, 9)) for _ in range(d.randint(2, 40))) + "\u202e7",
    "look-alikes": lambda d: "".join(chr(0x1D7CE + d.randint(0, 49)) for _ in range(d.randint(2, 40))) + "\u2212",
    "soup": _soup,
}

#: The kinds that do not end, or not soon.
HANGS = frozenset(
    {"tower", "factorial", "binomial", "power", "nested fractions", "nested braces", "nested parentheses"}
    | {"sum", "product", "integral", "factors"}
)
