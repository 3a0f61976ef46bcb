"""The other side of a diamond."""

from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.contract import Context

VERSION = 1
MAKES = ("right",)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """`keep` stands for the settings of a side."""

    keep: float


def takes(config: Config) -> tuple[str, ...]:
    return ("checkpoint",)


def run(config: Config, context: Context) -> dict[str, Any]:
    raise NotImplementedError("it is only planned")
