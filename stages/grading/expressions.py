r"""Math-Verify's parser, with what it lacks: repaired for the ANTLR that Hydra pins, and quicker. `judge` compares.

Nothing here may run outside a worker: a hostile string hangs any of it.
"""

from __future__ import annotations

import logging
from functools import cache, lru_cache
from typing import Any

from stages.grading import judge


def parsed(text: str, units: bool) -> list[Any]:
    """What Math-Verify makes of a text in a box: an expression and the text, or only the text; units are dropped."""
    from math_verify import parse  # sympy takes 0.4 s to import

    _repair()
    # Its timeouts are signal alarms, which threads cannot have and C code does not hear: the pool kills instead.
    found: list[Any] = parse(
        rf"\boxed{{{text}}}",
        extraction_config=[_config(units)],  # type: ignore[arg-type]
        parsing_timeout=None,
    )
    return found


def equal(gold: str, answer: str, units: bool) -> bool:
    """Whether Math-Verify says that two texts are one; the order matters: gold first."""
    return judge.verified(parsed_gold(gold, units), parsed(answer, units))


# A gold answer meets K answers, one soon after the other.
parsed_gold = lru_cache(maxsize=1_000)(parsed)


@cache
def _config(units: bool) -> Any:
    r"""How Math-Verify reads a box: with its default normaliser, as verl's scorer has it (`\frac12` is 1/2)."""
    from math_verify import LatexExtractionConfig
    from math_verify.parser import NormalizationConfig

    return LatexExtractionConfig(
        boxed_match_priority=0,
        normalization_config=NormalizationConfig(
            basic_latex=True, units=units, malformed_operators=True, nits=True, boxed="all"
        ),
    )


@cache
def _repair() -> None:
    """Mend and speed up Math-Verify's parser, once in a process."""
    judge.make_strict()
    from antlr4.atn.PredictionMode import PredictionMode  # type: ignore[import-untyped]
    from latex2sympy2_extended.antlr_parser import PSParser
    from latex2sympy2_extended.latex2sympy2 import _Latex2Sympy

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its timeouts are off
    # The grammar for ANTLR 4.9.3 is older than the converter, which then fails at every percent.
    if not hasattr(PSParser.AtomContext, "FUNC_GAMMA"):
        PSParser.AtomContext.FUNC_GAMMA = lambda _: None

    parse, create = _Latex2Sympy.parse, _Latex2Sympy.create_parser

    def create_quick(self: Any, text: str) -> Any:
        parser = create(self, text)
        if not getattr(self, "thorough", False):
            parser._interp.predictionMode = PredictionMode.SLL
        return parser

    def parse_in_two_stages(self: Any, text: str) -> Any:
        """ANTLR's own advice: SLL finds the tree that LL finds or none, in half the time; then LL."""
        try:
            return parse(self, text)
        except Exception:  # the parser has no error of its own
            self.thorough = True
            return parse(self, text)

    _Latex2Sympy.create_parser, _Latex2Sympy.parse = create_quick, parse_in_two_stages
