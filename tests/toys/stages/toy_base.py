"""A base in a millisecond: one number in a file."""

from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from stages.toy_journal import journaled

from stages.contract import Context

VERSION = 1
MAKES = ("checkpoint",)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """`value` is what training starts from."""

    value: float


def takes(config: Config) -> tuple[str, ...]:
    return ()


def run(config: Config, context: Context) -> dict[str, Any]:
    with journaled(context):
        (context.output / "model.txt").write_text(str(config.value))
        return {"value": config.value}
