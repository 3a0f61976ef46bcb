"""The end of a diamond, and the beginning of the next."""

from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.contract import Context

VERSION = 1
MAKES = ("checkpoint",)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """`alpha` stands for the settings of a join."""

    alpha: float


def takes(config: Config) -> tuple[str, ...]:
    return ("left", "right")


def run(config: Config, context: Context) -> dict[str, Any]:
    raise NotImplementedError("it is only planned")
