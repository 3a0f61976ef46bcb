"""Targets and attribution over a whole calibration set: what is measured, kept and summarised."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from stages.contract import StageError
from stages.data.tokens import Sequence
from stages.rejuvenation import attribution, targets
from stages.rejuvenation.architecture import Module
from stages.rejuvenation.attribution_files import NeuronWriter
from stages.rejuvenation.calibration import candidates
from stages.rejuvenation.targets import Target

#: Called with the index of the sample that comes next.
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Logits:
    """True and reconstructed target logits, one a target in the order of targets.parquet, and the neurons kept."""

    z: list[float]
    z_reconstructed: list[float]
    kept: int


def entropies(model: PreTrainedModel, sequences: list[Sequence], tick: Tick) -> list[list[float]]:
    """Entropies in nats at the candidate positions of every sample."""
    found = []
    for number, item in enumerate(sequences):
        tick(number)
        found.append(targets.entropies(model, item.input_ids, candidates(item)))
        _refuse_overflow(found[-1], number, "token entropy")
    return found


def choose(sequences: list[Sequence], base: list[list[float]], sft: list[list[float]], n: int) -> list[list[Target]]:
    """The targets of every sample, from the entropies of both models."""
    return [
        targets.choose(item.input_ids, candidates(item), h_base, h_sft, n)
        for item, h_base, h_sft in zip(sequences, base, sft, strict=True)
    ]


def score(
    model: PreTrainedModel,
    modules: list[Module],
    samples: list[tuple[Sequence, list[Target]]],
    writer: NeuronWriter,
    batch: int,
    tick: Tick,
) -> Logits:
    """Score all neurons for every target, `batch` targets of one sample at a time, and hand them to the writer."""
    attribution.prepare(model)
    z: list[float] = []
    z_reconstructed: list[float] = []
    for number, (item, chosen) in enumerate(samples):
        tick(number)
        for start in range(0, len(chosen), batch):
            positions = [target.t for target in chosen[start : start + batch]]
            found = attribution.attribute(model, modules, item.input_ids, positions)
            _refuse_overflow([found.scores_NM.sum().item(), *found.z], number, "attribution")
            writer.write(found.scores_NM)
            z += found.z
            z_reconstructed += found.z_reconstructed
    return Logits(z, z_reconstructed, writer.kept)


def summarise(
    base: list[list[float]], sft: list[list[float]], chosen: list[list[Target]], logits: Logits
) -> dict[str, Any]:
    """The numbers that say what was attributed and how well; entropies in nats, errors of the logit."""
    flat = [target for of_sample in chosen for target in of_sample]
    errors = np.abs(np.array(logits.z_reconstructed) - np.array(logits.z))
    return {
        "targets": len(flat),
        "response_positions": sum(len(h) for h in sft),
        "entropy_base": _mean([h for of_sample in base for h in of_sample]),
        "entropy_sft": _mean([h for of_sample in sft for h in of_sample]),
        "entropy_base_at_targets": _mean([target.h_base for target in flat]),
        "entropy_sft_at_targets": _mean([target.h_sft for target in flat]),
        "reconstruction_error_max": float(errors.max()),
        "reconstruction_error_mean": float(errors.mean()),
        "neurons_kept_per_target": logits.kept / len(flat),
    }


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _refuse_overflow(values: list[float], number: int, what: str) -> None:
    """Finite weights can still overflow in a forward pass; a NaN would silently be ranked nowhere."""
    if not all(map(math.isfinite, values)):
        raise StageError(f"calibration row {number + 1}: the {what} is not finite")
