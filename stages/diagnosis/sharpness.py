"""`sharpness.parquet`: the loss of response tokens at theta + s * d, along random directions and along the change.

All directions have the norm of theta's matrices (see `perturbation`), so that two checkpoints compare at equal s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedModel

from stages.contract import StageError
from stages.diagnosis.forward import Sample, Tick, mean_nll
from stages.diagnosis.perturbation import Around, move, restore

SHARPNESS = "sharpness.parquet"

_SHARPNESS = pa.schema(
    [("model", pa.string()), ("along", pa.string()), ("direction", pa.int32())]
    + [(name, pa.float64()) for name in ("scale", "nll", "applied")]
)


@dataclass(frozen=True)
class Settings:
    """`directions`: how many are random; `scales`: the positive s, each of which is measured with both signs."""

    directions: int
    scales: list[float]
    seed: int

    @property
    def evaluations(self) -> int:
        """How often the loss of one model is measured, at most."""
        return 1 + 2 * len(self.scales) * (self.directions + 1)


def matrix_norms(rows: list[dict[str, Any]]) -> dict[str, float]:
    """l2 of all matrices together, from the rows of weights.parquet: of the change and of both checkpoints."""
    matrices = [row for row in rows if len(row["shape"]) == 2]
    columns = {"change": "norm", "reference": "norm_reference", "checkpoint": "norm_checkpoint"}
    return {name: math.sqrt(math.fsum(row[column] ** 2 for row in matrices)) for name, column in columns.items()}


@torch.no_grad()
def measure(
    model: PreTrainedModel, around: Around, samples: list[Sample], settings: Settings, batch: int, tick: Tick
) -> list[dict[str, Any]]:
    """Rows of sharpness.parquet for one model, which must be that of `around` and keeps its weights.

    A loss that is not finite, far away, is None. Equal checkpoints have no change, and no row along it.

    Raises:
        StageError: a part of the model is on no device, so that it could not be moved.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        raise StageError("diagnose.sharpness_samples: the model does not fit on the GPUs; allowed: 0, or larger GPUs")
    directions: list[int | None] = [*range(settings.directions)]
    if around.matrix_norms["change"] > 0:
        directions.append(None)
    rows = [_row(around.name, "none", None, 0.0, mean_nll(model, samples, batch, tick), 0.0)]
    try:
        for direction in directions:
            for scale in (sign * scale for scale in settings.scales for sign in (-1, 1)):
                applied = move(model, around, direction, scale)
                along = "change" if direction is None else "random"
                nll = mean_nll(model, samples, batch, tick)
                rows.append(_row(around.name, along, direction, scale, nll, applied))
    finally:
        restore(model, around.weights)
    return rows


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    """One row a loss: `scale` has a sign, `direction` is the number of a random one, `along` none is theta itself."""
    pq.write_table(pa.Table.from_pylist(rows, schema=_SHARPNESS), folder / SHARPNESS)


def summarise(rows: list[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    """Curvatures at the smallest scale, with their spread, and mean loss increases at every scale, of both models.

    Curvature is the second difference (L(s) + L(-s) - 2 L(0)) / s^2, in nats: d has the norm of theta.
    """
    summary: dict[str, Any] = {}
    increase: dict[str, Any] = {}
    for model in dict.fromkeys(row["model"] for row in rows):
        losses = {(row["along"], row["direction"], row["scale"]): row["nll"] for row in rows if row["model"] == model}
        middle = losses["none", None, 0.0]
        for along in ("random", "change"):
            numbers = list(dict.fromkeys(d for a, d, _ in losses if a == along))
            sums = {
                scale: [_plus(losses[along, d, scale], losses[along, d, -scale], -2 * middle) for d in numbers]
                for scale in settings.scales
            }
            smallest = min(settings.scales)
            curvatures = [None if value is None else value / smallest**2 for value in sums[smallest]]
            summary[f"curvature_{along}_{model}"] = _mean(curvatures)
            if along == "random":
                summary[f"curvature_random_deviation_{model}"] = _deviation(curvatures)
            increase.setdefault(model, {})[along] = {
                str(scale): _mean([None if value is None else value / 2 for value in values])
                for scale, values in sums.items()
            }
    return {**summary, "loss_increase": increase}


def _row(model: str, along: str, direction: int | None, scale: float, nll: float, applied: float) -> dict[str, Any]:
    finite = nll if math.isfinite(nll) else None
    return {
        "model": model,
        "along": along,
        "direction": direction,
        "scale": scale,
        "nll": finite,
        "applied": applied,
    }


def _plus(*values: float | None) -> float | None:
    return None if None in values else math.fsum(value for value in values if value is not None)


def _mean(values: list[float | None]) -> float | None:
    """None if there are none, or if one is missing: a mean without it would be too low."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _deviation(values: list[float | None]) -> float | None:
    """Standard deviation of the sample; None for fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 and None not in values else None  # type: ignore[arg-type]
