"""Says that it saves, and never has anything to save: it waits until it is asked to stop."""

import time
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.contract import Context, Interrupted

VERSION = 1
MAKES = ("checkpoint",)
SAVES = True


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """Nothing to choose."""


def takes(config: Config) -> tuple[str, ...]:
    return ()


def run(config: Config, context: Context) -> dict[str, Any]:
    print("started", flush=True)
    while not context.stopping():
        time.sleep(0.05)
    raise Interrupted("nothing to save")
