"""A claim: what a paper says of a study, as data, so that its numbers can hold or fail (conf/claims/*.yaml).

A claim is one part or several; a part is a sum of numbers, each with its weight, and the side of 0 where the claim
wants it. `orchestrator.claims` judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

_STRICT = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Term:
    """One number of a study, times a weight. One of `variant`, `training`, `diagnosis` and `reset` says where it is.

    Attributes:
        weight: what it is multiplied with; the weights of a difference are 1 and -1.
        variant: a row of the result table, in a column `of` it: `number` is pass@1, gap or majority, a share.
        training: a row whose chain ends in RL: `number` is of its curve, the mean over all steps, or at the last one.
        diagnosis: a diagnosis: `number` is of its record's summary.
        reset: a row whose chain rejuvenates: `number` is reset_ratio, the share of the neurons that are reset, among
            the modules of these `kinds` (all, if there are none) and `layers` (late: the last quarter, rounded up).
    """

    weight: float
    number: str
    variant: str | None = None
    of: str | None = None
    training: str | None = None
    at: Literal["mean", "last"] = "mean"
    diagnosis: str | None = None
    reset: str | None = None
    kinds: list[str] = Field(default_factory=list)
    layers: Literal["all", "late"] = "all"

    @model_validator(mode="after")
    def _one_place(self) -> Term:
        places = [self.variant, self.training, self.diagnosis, self.reset]
        if sum(place is not None for place in places) != 1:
            raise ValueError("expected one of variant, training, diagnosis, reset")
        if (self.variant is None) != (self.of is None):
            raise ValueError("variant and of (a column of the result table) go together")
        if self.reset is None and (self.kinds or self.layers != "all"):
            raise ValueError("kinds and layers are of a reset")
        if self.reset is not None and self.number != "reset_ratio":
            raise ValueError(f"number of a reset: {self.number!r}; allowed: reset_ratio")
        return self

    @property
    def row(self) -> str | None:
        """The row of the study that it is of; a diagnosis compares two."""
        return self.variant or self.training or self.reset

    def __str__(self) -> str:
        """`pass@1 of OverSFT+RL, ID avg`."""
        return ", ".join([f"{self.number} of {self.row or self.diagnosis}", *self._behind()])

    def _behind(self) -> Iterator[str]:
        """The part of the place that the number is of."""
        if self.of:
            yield self.of
        if self.training and self.at == "last":
            yield "last step"
        if self.kinds or self.layers == "late":
            kinds = " and ".join(self.kinds) or "all modules"
            yield f"{kinds} of the last quarter of the layers" if self.layers == "late" else kinds


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Part:
    """A sum of numbers, and where the claim wants it.

    Attributes:
        expect: the side of 0.
        unit: points of shares, which are 100 times the number; else the number's own.
        margin: a sum that is not further from 0 than this, in the unit, is no effect worth the name.
        published: the sum of the paper's own numbers, in the unit; null where it gives none. It is shown where the
            rest is the paper's as well: the experiment, the rows and the benchmarks.
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
