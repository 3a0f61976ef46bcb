"""Runs a shell command in the node's work folder; what it prints is the artifact. It saves nothing."""

import subprocess
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.contract import Context, StageError

VERSION = 1
MAKES = ("checkpoint",)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """`command` is what bash runs."""

    command: str


def takes(config: Config) -> tuple[str, ...]:
    return ()


def run(config: Config, context: Context) -> dict[str, Any]:
    done = subprocess.run(["bash", "-c", config.command], cwd=context.work, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise StageError(f"toy_shell.command={config.command}: exit code {done.returncode}")
    (context.output / "model.txt").write_text(done.stdout)
    return {"printed": done.stdout}
