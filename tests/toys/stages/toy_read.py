"""Reads a data file: its text is the artifact."""

from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.contract import Context

VERSION = 1
MAKES = ("checkpoint",)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """Nothing to choose."""


def takes(config: Config) -> tuple[str, ...]:
    return ("calibration",)


def run(config: Config, context: Context) -> dict[str, Any]:
    file = context.inputs["calibration"].path
    assert file is not None
    (context.output / "model.txt").write_text(file.read_text())
    return {"text": file.read_text()}
