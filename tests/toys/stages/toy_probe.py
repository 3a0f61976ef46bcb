"""Measures a number; the nodes of one job share what the first one loads."""

from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from stages.toy_journal import journaled

from stages.contract import Context

VERSION = 1
MAKES = ("evaluation",)
SHARES = ("checkpoint",)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """`digit` is the decimal place that is measured."""

    digit: int


def takes(config: Config) -> tuple[str, ...]:
    return ("checkpoint",)


def run(config: Config, context: Context) -> dict[str, Any]:
    with journaled(context):
        checkpoint = context.inputs["checkpoint"].path
        assert checkpoint is not None
        loads: list[str] = context.share("loads", list)
        value = context.share(checkpoint, lambda: (loads.append("load"), (checkpoint / "model.txt").read_text())[1])
        (context.output / "digit.txt").write_text(value[config.digit : config.digit + 1])
        return {"loads": len(loads)}
