"""Attribution: which neurons of a checkpoint push the tokens that SFT made it over-confident about (section 3.4.1).

The artifact does not depend on how the neurons are reset: one attribution serves every alpha, and every rho up to
`keep`.
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context

VERSION = 2
MAKES = ("attribution",)

Kind = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """The science of one attribution. Where a field has a default it is the paper's.

    Attributes:
        samples: rows of the calibration set, the first in file order.
        targets_per_sample: N, target tokens per sample (section 3.4.1: Top-N positions by entropy gap).
        keep: fraction of all ranked neurons whose scores are kept for each target; no later rho can exceed it.
        dtype: of parameters and computation; entropies, norms, gradients of the residual stream and the exact scores
            are float32 in both.
        modules: the kinds of linear layers whose neurons take part.
        ranking: rank the neurons of all modules together, or those of each module by themselves.
        targets: the positions with the largest entropy gap, with the lowest entropy after SFT, or all of the response.
        token: y*, whose logit is attributed: the response's own token, or the checkpoint's most probable one.
        sign: rank scores that are positive, or all by their magnitude.
    """

    samples: Annotated[int, Field(ge=1)]
    targets_per_sample: Annotated[int, Field(ge=1)]
    keep: Annotated[float, Field(gt=0, le=1)] = 0.1
    dtype: Literal["float32", "bfloat16"]
    modules: Annotated[list[Kind], Field(min_length=1)] = Field(default_factory=lambda: list(get_args(Kind)))
    ranking: Literal["model", "module"] = "model"
    targets: Literal["entropy_gap", "sft_entropy", "all"] = "entropy_gap"
    token: Literal["gold", "argmax"] = "gold"
    sign: Literal["positive", "absolute"] = "positive"


def check(config: Config) -> list[str]:
    """Modules are a set: one order and no kind twice, so that equal choices have equal fingerprints."""
    kinds = get_args(Kind)
    if config.modules != [kind for kind in kinds if kind in config.modules]:
        return [f"modules: {config.modules}; allowed: some of {', '.join(kinds)}, in this order"]
    return []


def takes(config: Config) -> tuple[str, ...]:
    """Targets come from base and checkpoint, scores from the checkpoint alone."""
    return ("base", "checkpoint", "calibration")


def run(config: Config, context: Context) -> dict[str, Any]:
    """Choose the targets, score all neurons for each of them and keep the best. One model is in memory at a time."""
    from stages.modeling.checkpoint import load_model
    from stages.rejuvenation import attribution_files as files
    from stages.rejuvenation import calibration, compatibility, scoring, weights
    from stages.rejuvenation.ranking import TIE_BAND, Ranking
    from stages.rejuvenation.targets import Rule

    base, checkpoint = context.inputs["base"], context.inputs["checkpoint"]
    pair = compatibility.open_pair(base, checkpoint)
    sequences = calibration.load(context.inputs["calibration"], pair, config.samples)
    weights.refuse_not_finite(pair.base, pair.checkpoint)
    modules = [module for module in pair.modules if module.kind in config.modules]
    batch = context.resources.per_device_batch

    in_base = scoring.predict(
        load_model(base, dtype=config.dtype, spread=True), sequences, batch, _tick(config, context, 0, "base entropies")
    )
    gc.collect()  # a model has reference cycles, and there may be room for one
    model = load_model(checkpoint, dtype=config.dtype, spread=True)
    in_sft = scoring.predict(model, sequences, batch, _tick(config, context, 1, "checkpoint entropies"))
    targets = scoring.choose(
        sequences, in_base, in_sft, Rule(config.targets, config.token, n=config.targets_per_sample)
    )
    ranking = Ranking(modules, config.ranking, config.sign)
    samples = list(zip(sequences, targets, strict=True))
    with files.ScoreWriter(context.output, ranking, keep=config.keep) as writer:
        logits = scoring.score(model, modules, samples, writer, batch, _tick(config, context, 2, "attribution"))
    files.write_tokens(context.output, sequences)
    files.write_targets(context.output, targets, logits.z, logits.z_reconstructed)
    bound = scoring.RECONSTRUCTION_BOUND[config.dtype]
    beyond = logits.beyond(bound)
    if len(beyond):
        logging.getLogger(__name__).warning(
            "RECONSTRUCTION: the logits of %d of %d targets differ from the sum of their contributions by more than "
            "%g of themselves (the first is row %d of %s): the scores do not explain them",
            *(len(beyond), len(logits.z), bound, beyond[0], files.TARGETS),
        )
    summary = {
        "samples": config.samples,
        "neurons": sum(module.neurons for module in modules),
        "keep": config.keep,
        "dtype": config.dtype,
        "modules": config.modules,
        "ranking": config.ranking,
        "sign": config.sign,
        "tie_band": TIE_BAND[config.dtype],
        "reconstruction_bound": bound,
        "targets_beyond_reconstruction_bound": len(beyond),
        **scoring.summarise(in_base, in_sft, targets, logits),
    }
    (context.output / files.SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _tick(config: Config, context: Context, phase: int, note: str) -> Callable[[int], None]:
    """Progress of one of the three passes over the samples."""
    total = 3 * config.samples
    return lambda sample: context.progress.update(phase * config.samples + sample, total, note=note)
