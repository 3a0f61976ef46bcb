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
from stages.rejuvenation import attribution, packing, targets
from stages.rejuvenation.architecture import Module
from stages.rejuvenation.attribution_files import ScoreWriter
from stages.rejuvenation.calibration import candidates
from stages.rejuvenation.targets import Prediction, Rule, Target

#: Called with the number of samples that are done.
Tick = Callable[[int], None]

#: Scores in memory at once: 256 MB.
_SCORES = 2**26

#: What a reconstructed logit may differ from the true one by, as a share of the latter (of 1 where that is smaller).
#: Above it the frozen norm, equation 2's only approximation, is not what explains the difference: in float32 it is
#: rounding, some 1e-6; bfloat16 rounds every write to the residual stream.
RECONSTRUCTION_BOUND = {"float32": 1e-3, "bfloat16": 0.1}


@dataclass(frozen=True)
class Logits:
    """True and reconstructed target logits, one a target in the order of targets.parquet, and the neurons kept."""

    z: list[float]
    z_reconstructed: list[float]
    kept: int

    @property
    def errors(self) -> np.ndarray:
        """|reconstructed - true| of every target."""
        return np.abs(np.array(self.z_reconstructed) - np.array(self.z))

    def beyond(self, bound: float) -> np.ndarray:
        """The targets whose logit is not reconstructed within `bound`."""
        return np.flatnonzero(self.errors > bound * np.maximum(1, np.abs(self.z)))


def predict(model: PreTrainedModel, sequences: list[Sequence], batch: int, tick: Tick) -> list[list[Prediction]]:
    """Predictions at the candidate positions of every sample, `batch` samples of like length at a time."""
    order = sorted(range(len(sequences)), key=lambda number: len(sequences[number].input_ids))
    found: list[list[Prediction]] = [[] for _ in sequences]
    for start in range(0, len(order), batch):
        numbers = order[start : start + batch]
        samples = [(sequences[number].input_ids, candidates(sequences[number])) for number in numbers]
        for number, predictions in zip(numbers, targets.predict(model, samples), strict=True):
            _refuse_overflow([each.entropy for each in predictions], number, "token entropy")
            found[number] = predictions
        tick(start + len(numbers))
    return found


def choose(
    sequences: list[Sequence], base: list[list[Prediction]], sft: list[list[Prediction]], rule: Rule
) -> list[list[Target]]:
    """The targets of every sample, from the predictions of both models."""
    return [
        rule.choose(item.input_ids, candidates(item), of_base, of_sft)
        for item, of_base, of_sft in zip(sequences, base, sft, strict=True)
    ]


def score(
    model: PreTrainedModel,
    modules: list[Module],
    samples: list[tuple[Sequence, list[Target]]],
    writer: ScoreWriter,
    batch: int,
    tick: Tick,
) -> Logits:
    """Score all neurons of `modules` for every target, and hand them to the writer.

    A pass has as many targets as have `batch` times the longest sample in positions up to them.
    """
    model.requires_grad_(False)
    passages = [
        packing.Passage(item.input_ids, [target.t for target in chosen], [target.y for target in chosen])
        for item, chosen in samples
    ]
    rows = batch * max(len(item.input_ids) for item, _ in samples)
    most = max(1, _SCORES // sum(module.neurons for module in modules))
    z: list[float] = []
    z_reconstructed: list[float] = []
    for parts in packing.passes(passages, rows=rows, targets=most):
        found = attribution.attribute(model, modules, [part for _, part in parts])
        _refuse_overflow([found.scores_NM.sum().item(), *found.z], parts[-1][0], "attribution")
        writer.write(found.scores_NM)
        z += found.z
        z_reconstructed += found.z_reconstructed
        tick(parts[-1][0] + 1)
    return Logits(z, z_reconstructed, writer.kept)


def summarise(
    base: list[list[Prediction]], sft: list[list[Prediction]], chosen: list[list[Target]], logits: Logits
) -> dict[str, Any]:
    """The numbers that say what was attributed and how well; entropies in nats, errors of the logit."""
    flat = [target for of_sample in chosen for target in of_sample]
    return {
        "targets": len(flat),
        "response_positions": sum(len(of_sample) for of_sample in sft),
        "entropy_base": _mean([each.entropy for of_sample in base for each in of_sample]),
        "entropy_sft": _mean([each.entropy for of_sample in sft for each in of_sample]),
        "entropy_base_at_targets": _mean([target.h_base for target in flat]),
        "entropy_sft_at_targets": _mean([target.h_sft for target in flat]),
        "reconstruction_error_max": float(logits.errors.max()),
        "reconstruction_error_mean": float(logits.errors.mean()),
        "neurons_kept_per_target": logits.kept / len(flat),
    }


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def _refuse_overflow(values: list[float], number: int, what: str) -> None:
    """Finite weights can still overflow in a forward pass; a NaN would silently be ranked nowhere."""
    if not all(map(math.isfinite, values)):
        raise StageError(f"calibration row {number + 1}: the {what} is not finite")
