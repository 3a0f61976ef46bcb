"""A training: as many fields as a small stage has, and shorter ones that it continues."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context

VERSION = 1
MAKES = ("checkpoint",)
CONTINUES = "epochs"


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """The fields of a recipe."""

    seed: int
    epochs: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    batch: Annotated[int, Field(ge=1)]
    loss: str
    warmup: float


def takes(config: Config) -> tuple[str, ...]:
    return ("checkpoint",)


def run(config: Config, context: Context) -> dict[str, Any]:
    raise NotImplementedError("it is only planned")
