"""Training that doubles a number each epoch, as slowly as asked, and continues what was published or interrupted."""

import os
import time
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from stages.toy_journal import journaled, note

from stages.contract import Context, Interrupted, StageError

VERSION = 1
MAKES = ("checkpoint",)
CONTINUES = "epochs"
SAVES = True


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """`rate` multiplies the number once an epoch, which takes `seconds`; above `limit` training fails."""

    epochs: Annotated[int, Field(ge=1)]
    rate: Annotated[float, Field(gt=0)]
    seconds: Annotated[float, Field(ge=0)]
    limit: float = 1e9


def takes(config: Config) -> tuple[str, ...]:
    return ("checkpoint",)


def check(config: Config) -> list[str]:
    return ["rate=13: brings bad luck"] if config.rate == 13 else []


def run(config: Config, context: Context) -> dict[str, Any]:
    with journaled(context):
        return _train(config, context)


def _train(config: Config, context: Context) -> dict[str, Any]:
    done, folder = context.continues or (0, context.inputs["checkpoint"].path)
    assert folder is not None
    value = float((folder / "model.txt").read_text())
    unfinished = context.work / "epoch.txt"
    if unfinished.exists():
        done, value = (float(part) for part in unfinished.read_text().split())
    lost = context.saved.lost(int(done) if unfinished.exists() else None)
    if lost is not None:
        raise StageError(lost)
    for epoch in range(int(done) + 1, config.epochs + 1):
        time.sleep(config.seconds)
        value *= config.rate
        draft = context.work / "draft.txt"
        draft.write_text(f"{epoch} {value}")
        os.replace(draft, unfinished)
        context.saved.record(epoch)
        context.progress.update(epoch, config.epochs, value=value)
        note("epoch", context)
        if context.stopping() and epoch < config.epochs:
            raise Interrupted(f"saved at epoch {epoch}")
    if value > config.limit:
        raise StageError(f"toy_train.limit={config.limit}: reached {value}")
    context.state.mkdir()
    (context.state / "optimizer.txt").write_text("momentum")
    (context.output / "model.txt").write_text(str(value))
    return {"value": value, "continued": context.continues is not None}
