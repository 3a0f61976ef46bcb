"""Logs a curve whose values are known, saves every two steps, and dies or is asked to stop where it is told to."""

import json
import os
import signal
import time
from typing import Annotated, Any

import psutil
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context, Interrupted, StageError

VERSION = 1
MAKES = ("checkpoint",)
SAVES = True


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """`steps` of so many `seconds`; after step `dies` the first attempt ends in the way of `how`.

    `alone`: it goes on, but W&B's client has got the SIGTERM that Slurm sends to all processes of a job.
    """

    steps: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)] = 0.0
    dies: int | None = None
    how: str = "killed"


def takes(config: Config) -> tuple[str, ...]:
    return ()


def _end_client() -> None:
    for each in psutil.Process().children(recursive=True):
        if each.name() == "wandb-core":
            each.terminate()
    time.sleep(0.5)


def run(config: Config, context: Context) -> dict[str, Any]:
    saved = context.work / "log.json"
    rows = json.loads(saved.read_text()) if saved.exists() else []
    first = not (context.work / "died").exists()
    for row in rows:  # as a trainer does that goes on from a checkpoint
        context.log("train", row)
    for step in range(len(rows) + 1, config.steps + 1):
        rows.append({"step": step, "rollout": (step + 1) // 2, "reward": step / 10})
        context.log("train", rows[-1])
        if step % 2 == 0:
            saved.with_suffix(".draft").write_text(json.dumps(rows))
            os.replace(saved.with_suffix(".draft"), saved)
            context.saved.record(step)
        time.sleep(config.seconds)
        if first and step == config.dies:
            (context.work / "died").touch()
            if config.how == "alone":
                _end_client()
                continue
            if config.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise Interrupted(f"saved at step {step}") if config.how == "stopped" else StageError("it fails here")
    (context.output / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (context.output / "model.txt").write_text("trained")
    return {"reward": rows[-1]["reward"]}
