"""A claim: what a paper says of a study, as data, so that its numbers can hold or fail (conf/claims/*.yaml).

A claim is one part or several; a part is a sum of numbers, each with its weight, and the side of 0 where the claim
wants it. `orchestrator.claims` judges.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Term:
    """One number of a study, times a weight. One of `variant`, `training` and `diagnosis` says where it is.

    Attributes:
        weight: what it is multiplied with; the weights of a difference are 1 and -1.
        variant: a row of the result table, in a column `of` it: `number` is pass@1, gap or majority, a share.
        training: a row whose chain ends in RL: `number` is of its curve, the mean over all steps, or at the last one.
        diagnosis: a diagnosis: `number` is of its record's summary.
    """

    weight: float
    number: str
    variant: str | None = None
    of: str | None = None
    training: str | None = None
    at: Literal["mean", "last"] = "mean"
    diagnosis: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Term:
        places = [self.variant, self.training, self.diagnosis]
        if sum(place is not None for place in places) != 1:
            raise ValueError("expected one of variant, training, diagnosis")
        if (self.variant is None) != (self.of is None):
            raise ValueError("variant and of (a column of the result table) go together")
        return self

    def __str__(self) -> str:
        """`pass@1 of OverSFT+RL, ID avg`."""
        where = self.variant or self.training or self.diagnosis
        behind = f", {self.of}" if self.of else ", last step" if self.training and self.at == "last" else ""
        return f"{self.number} of {where}{behind}"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Part:
    """A sum of numbers, and where the claim wants it.

    Attributes:
        expect: the side of 0.
        unit: points of shares, which are 100 times the number; else the number's own.
        margin: a sum that is not further from 0 than this, in the unit, is no effect worth the name.
        published: the sum of the paper's own numbers, in the unit; null where it gives none.
    """

    claim: Annotated[str, Field(min_length=1)]
    terms: Annotated[list[Term], Field(min_length=1)]
    expect: Literal["above", "below"]
    unit: str
    margin: Annotated[float, Field(ge=0)] = 0.0
    published: float | None = None

    @property
    def scale(self) -> float:
        """The unit, in that of the numbers."""
        return 100.0 if self.unit == "points" else 1.0


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Claim:
    """What is claimed, where the paper does so, and its parts, all of which must hold."""

    claim: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    parts: Annotated[list[Part], Field(min_length=1)]
