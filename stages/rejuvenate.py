"""Rejuvenation: pull an over-trained checkpoint back toward its base, and reset its most over-confident neurons.

Fusion is global (section 3.3, equation 1), the reset is local (section 3.4.2, equations 4 and 5). The checkpoint it
makes has the layout, dtypes, config and tokenizer of the one it takes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context, StageError

VERSION = 1
MAKES = ("checkpoint",)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """The science of one rejuvenation.

    Attributes:
        alpha: weight of the checkpoint in the fusion, a fraction (equation 1): 1 keeps it, 0 is the base.
        rho: fraction of all neurons that one target selects (section 3.4.2), at most the attribution's `keep`;
            0 is fusion alone and needs no attribution.
    """

    alpha: Annotated[float, Field(ge=0, le=1)]
    rho: Annotated[float, Field(ge=0, le=1)]


def takes(config: Config) -> tuple[str, ...]:
    """At rho 0 an attribution is no input, even if the chain has one."""
    return ("base", "checkpoint", "attribution") if config.rho > 0 else ("base", "checkpoint")


def run(config: Config, context: Context) -> dict[str, Any]:
    """Select the neurons, then fuse and reset tensor by tensor: no model is ever loaded."""
    from stages.rejuvenation import compatibility, fusion, reset_set

    pair = compatibility.open_pair(context.inputs["base"], context.inputs["checkpoint"])
    if config.rho > 0:
        attribution = _attribution(config, context, neurons=pair.neurons)
        chosen = reset_set.union(attribution, pair.modules, config.rho)
    else:
        chosen = reset_set.empty(pair.modules)

    def tick(done: int, total: int) -> None:
        context.progress.update(done, total, note="elements written")

    recipe = fusion.Recipe(config.alpha, chosen)
    fusion.write(pair.checkpoint, pair.base, recipe, context.output / "model", tick, context.resources.cpus)
    reset_set.write(context.output, chosen)
    summary = {"alpha": config.alpha, "rho": config.rho, **reset_set.summarise(chosen, pair.checkpoint)}
    (context.output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return {name: value for name, value in summary.items() if not isinstance(value, dict)}


def _attribution(config: Config, context: Context, *, neurons: int) -> Path:
    """The folder of the attribution, if it can serve this rho and this checkpoint."""
    from stages.rejuvenation.attribution_files import SUMMARY

    folder = context.inputs["attribution"].path
    assert folder is not None, "an attribution is always an artifact"
    summary = json.loads((folder / SUMMARY).read_text())
    if config.rho > summary["keep"]:
        raise StageError(f"rejuvenate.rho: {config.rho}; allowed: at most attribute.keep, which is {summary['keep']}")
    if summary["neurons"] != neurons:
        raise StageError(f"{folder}: attribution of {summary['neurons']} neurons, but the checkpoint has {neurons}")
    return folder
