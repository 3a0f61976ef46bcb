"""Attribution: which neurons of a checkpoint push the tokens that SFT made it over-confident about (section 3.4.1).

The artifact does not depend on how the neurons are reset: one attribution serves every alpha, and every rho up to
`keep`.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context

VERSION = 1
MAKES = ("attribution",)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """The science of one attribution.

    Attributes:
        samples: rows of the calibration set, the first in file order.
        targets_per_sample: N, target tokens per sample (paper, section 3.4.1: Top-N positions by entropy gap).
        keep: fraction of all neurons whose scores are kept for each target; no later rho can exceed it.
        dtype: of parameters and computation; entropies, norms and the exact scores are float32 in both.
    """

    samples: Annotated[int, Field(ge=1)]
    targets_per_sample: Annotated[int, Field(ge=1)]
    keep: Annotated[float, Field(gt=0, le=1)] = 0.1
    dtype: Literal["float32", "bfloat16"]


def takes(config: Config) -> tuple[str, ...]:
    """Targets come from base and checkpoint, scores from the checkpoint alone."""
    return ("base", "checkpoint", "calibration")


def run(config: Config, context: Context) -> dict[str, Any]:
    """Choose the targets, score all neurons for each of them and keep the best. One model is in memory at a time."""
    from stages.modeling.checkpoint import load_model
    from stages.rejuvenation import attribution_files as files
    from stages.rejuvenation import calibration, compatibility, ranking, scoring, weights

    base, checkpoint = context.inputs["base"], context.inputs["checkpoint"]
    pair = compatibility.open_pair(base, checkpoint)
    sequences = calibration.load(context.inputs["calibration"], pair, config.samples)
    weights.refuse_not_finite(pair.base, pair.checkpoint)

    h_base = scoring.entropies(
        load_model(base, dtype=config.dtype), sequences, _tick(config, context, 0, "base entropies")
    )
    gc.collect()  # a model has reference cycles, and there may be room for one
    model = load_model(checkpoint, dtype=config.dtype)
    h_sft = scoring.entropies(model, sequences, _tick(config, context, 1, "checkpoint entropies"))
    targets = scoring.choose(sequences, h_base, h_sft, config.targets_per_sample)
    with files.NeuronWriter(context.output, pair.modules, keep=ranking.budget(config.keep, pair.neurons)) as writer:
        logits = scoring.score(
            model,
            pair.modules,
            list(zip(sequences, targets, strict=True)),
            writer,
            batch=context.resources.per_device_batch,
            tick=_tick(config, context, 2, "attribution"),
        )
    files.write_tokens(context.output, sequences)
    files.write_targets(context.output, targets, logits.z, logits.z_reconstructed)
    summary = {
        "samples": config.samples,
        "neurons": pair.neurons,
        "keep": config.keep,
        **scoring.summarise(h_base, h_sft, targets, logits),
    }
    (context.output / files.SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _tick(config: Config, context: Context, phase: int, note: str) -> Callable[[int], None]:
    """Progress of one of the three passes over the samples."""
    total = 3 * config.samples
    return lambda sample: context.progress.update(phase * config.samples + sample, total, note=note)
