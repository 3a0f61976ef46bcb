"""`sharpness.parquet`: the loss of response tokens at theta + s * d, along random directions and along the change.

Random directions are filter-normalised (Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets"): Gaussian
noise whose every row has the norm of the weight's row, so that s is a relative size and two checkpoints compare at
equal s; norm weights and biases stay, as there. All of them have the norm of theta's matrices, and so does the change
(checkpoint - reference), which is scaled to it. Both checkpoints get the same noise, before it is normalised.

The model is moved in place, each time from the values in its files, and at the end it has exactly those: no drift.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.diagnosis.forward import Sample, Tick, mean_nll
from stages.rejuvenation.compatibility import Pair
from stages.rejuvenation.weights import Weights, row_blocks

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


@dataclass(frozen=True)
class Around:
    """One of the pair's checkpoints and the directions from it; `matrix_norms` are those of all matrices together."""

    pair: Pair
    name: str
    matrix_norms: dict[str, float]
    seed: int

    @property
    def weights(self) -> Weights:
        return self.pair.base if self.name == "reference" else self.pair.checkpoint

    def towards(self, direction: int | None, tensor: str, span: tuple[int, int], weight: Tensor, draw: Draw) -> Tensor:
        """Rows `span` of a direction d; None is the change."""
        if direction is not None:
            return filter_normalised(draw(weight.shape), weight)
        ours, theirs = (_rows(weights, tensor, span).float() for weights in (self.pair.checkpoint, self.pair.base))
        return (ours - theirs).to(weight.device) * (self.matrix_norms[self.name] / self.matrix_norms["change"])


class Draw:
    """Gaussian noise of one direction and tensor: the same for every model, scale and order of asking."""

    def __init__(self, seed: int, direction: int | None, tensor: str, device: torch.device) -> None:
        digest = hashlib.sha256(f"{seed}/{direction}/{tensor}".encode()).digest()
        self._generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:7]))

    def __call__(self, shape: torch.Size) -> Tensor:
        return torch.randn(shape, generator=self._generator, device=self._generator.device)


def filter_normalised(noise: Tensor, weight: Tensor) -> Tensor:
    """`noise` with every row scaled to the norm of the weight's row."""
    norm = torch.linalg.vector_norm
    return noise * (norm(weight, dim=1, keepdim=True) / norm(noise, dim=1, keepdim=True))


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
    """
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


@torch.no_grad()
def move(model: PreTrainedModel, around: Around, direction: int | None, scale: float) -> float:
    """Set the model's matrices to theta + scale * d; returns the norm of what they really moved, relative to theta.

    In bfloat16 that differs from |scale|: small steps are rounded away or up.
    """
    squares = 0.0
    for name, parameter in _matrices(model):
        draw = Draw(around.seed, direction, name, parameter.device)
        for span in row_blocks(tuple(parameter.shape)):
            start = _rows(around.weights, name, span).to(parameter.device).to(parameter.dtype)
            step = around.towards(direction, name, span, start.float(), draw)
            moved = (start.float() + scale * step).to(parameter.dtype)
            squares += torch.linalg.vector_norm(moved.float() - start.float(), dtype=torch.float64).item() ** 2
            parameter[slice(*span)] = moved
    return math.sqrt(squares) / around.matrix_norms[around.name]


@torch.no_grad()
def restore(model: PreTrainedModel, weights: Weights) -> None:
    """Set the model's matrices to what the files hold."""
    for name, parameter in _matrices(model):
        for span in row_blocks(tuple(parameter.shape)):
            parameter[slice(*span)] = _rows(weights, name, span).to(parameter.device).to(parameter.dtype)


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


def _matrices(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """What random directions move: every parameter with rows, a tied embedding once."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.dim() == 2)


def _rows(weights: Weights, name: str, span: tuple[int, int]) -> Tensor:
    stored = weights.find(name)
    assert stored is not None, f"{name}: the model was loaded from these files"
    return weights.rows(stored, *span)


def _plus(*values: float | None) -> float | None:
    return None if None in values else math.fsum(value for value in values if value is not None)


def _mean(values: list[float | None]) -> float | None:
    """None if there are none, or if one is missing: a mean without it would be too low."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _deviation(values: list[float | None]) -> float | None:
    """Standard deviation of the sample; None for fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 and None not in values else None  # type: ignore[arg-type]
