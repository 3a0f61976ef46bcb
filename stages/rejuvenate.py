"""Rejuvenation: pull an over-trained checkpoint back toward its base, and reset its most over-confident neurons.

Fusion is global (section 3.3, equation 1), the reset is local (section 3.4.2, equations 4 and 5). The checkpoint it
makes has the layout, dtypes, config and tokenizer of the one it takes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context, Seed, StageError

if TYPE_CHECKING:
    from stages.rejuvenation.architecture import Module
    from stages.rejuvenation.reset_set import ResetSet

VERSION = 1
MAKES = ("checkpoint",)

#: Merges that keep some elements of the change and drop the others.
_SPARSE = ("ties", "dare_linear")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """The science of one rejuvenation.

    Attributes:
        alpha: weight of the checkpoint in the fusion, a fraction (equation 1): 1 keeps it, 0 is the base.
        rho: fraction of all neurons that one target selects (section 3.4.2), at most the attribution's `keep`;
            0 is fusion alone and needs no attribution.
        neurons: which are reset: those that the attribution selects (the paper), or, as a control, as many of each
            module drawn at random.
        seed: of that draw, and of what dare drops.
        reset_alpha: weight of the checkpoint in what reset neurons are set to, a fraction: 0 is the base (the paper).
        merge: how the two are fused: linearly (equation 1), or by a method of mergekit, to which `alpha` is slerp's t,
            or the share of what is left of the change from the base.
        density: fraction of the elements of that change that ties and dare keep; they need it, the others have none.
    """

    alpha: Annotated[float, Field(ge=0, le=1)]
    rho: Annotated[float, Field(ge=0, le=1)]
    neurons: Literal["attributed", "random"] = "attributed"
    seed: Seed = 0
    reset_alpha: Annotated[float, Field(ge=0, le=1)] = 0.0
    merge: Literal["linear", "slerp", "ties", "dare_linear"] = "linear"
    density: Annotated[float, Field(gt=0, le=1)] | None = None


def takes(config: Config) -> tuple[str, ...]:
    """At rho 0 an attribution is no input, even if the chain has one."""
    return ("base", "checkpoint", "attribution") if config.rho > 0 else ("base", "checkpoint")


def check(config: Config) -> list[str]:
    """What the types of the fields cannot say."""
    errors = []
    if config.seed and config.neurons != "random" and config.merge != "dare_linear":
        errors.append(f"seed: {config.seed} has no effect; it is of the draw of neurons=random or merge=dare_linear")
    if config.density is None and config.merge in _SPARSE:
        errors.append(f"density: null; merge={config.merge} needs a fraction above 0")
    if config.density is not None and config.merge not in _SPARSE:
        errors.append(f"density: {config.density} has no effect; it is of merge={' or '.join(_SPARSE)}")
    return errors


def run(config: Config, context: Context) -> dict[str, Any]:
    """Select the neurons, then fuse and reset block by block: no model is ever loaded."""
    from stages.rejuvenation import compatibility, fusion, merging, reset_set

    linear = config.merge == "linear"
    merge = None if linear else merging.load(config.merge, config.alpha, config.density, config.seed)
    pair = compatibility.open_pair(context.inputs["base"], context.inputs["checkpoint"], neurons=config.rho > 0)
    chosen, ties = _chosen(config, context, pair.modules)

    def tick(done: int, total: int) -> None:
        context.progress.update(done, total, note="elements written")

    recipe = fusion.Recipe(config.alpha, chosen, config.reset_alpha, merge)
    fusion.write(pair.checkpoint, pair.base, recipe, context.output / "model", tick, context.resources.cpus)
    reset_set.write(context.output, chosen)
    summary = {
        "alpha": config.alpha,
        "rho": config.rho,
        "selection": config.neurons,
        "reset_alpha": config.reset_alpha,
        "merge": config.merge,
        **ties,
        **reset_set.summarise(chosen, pair.checkpoint),
    }
    (context.output / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return {name: value for name, value in summary.items() if not isinstance(value, dict)}


def _chosen(config: Config, context: Context, modules: list[Module]) -> tuple[ResetSet, dict[str, float]]:
    """The neurons to reset, and how many of those that a target selects nearly tie with the cut (none at rho 0)."""
    from stages.rejuvenation import reset_set
    from stages.rejuvenation.selection import read_summary

    if config.rho == 0:
        return reset_set.empty(modules), {}
    folder = context.inputs["attribution"].path
    assert folder is not None, "an attribution is always an artifact"
    summary = read_summary(folder)
    if config.rho > summary["keep"]:
        raise StageError(f"rejuvenate.rho: {config.rho}; allowed: at most attribute.keep, which is {summary['keep']}")
    neurons = sum(module.neurons for module in modules if module.kind in summary["modules"])
    if summary["neurons"] != neurons:
        kinds = ", ".join(summary["modules"])
        raise StageError(
            f"{folder}: attribution of {summary['neurons']} neurons of {kinds}; the checkpoint has {neurons}"
        )
    chosen, near_ties = reset_set.union(folder, modules, config.rho)
    if config.neurons == "random":
        chosen = reset_set.drawn_like(chosen, config.seed)
    mean = sum(near_ties) / len(near_ties) if near_ties else 0.0
    return chosen, {"near_ties_per_target": mean, "tie_band": summary["tie_band"]}
