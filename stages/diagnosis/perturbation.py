"""Directions in the space of a model's matrices, and moving a model along them in place.

Random directions are filter-normalised (Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets"): Gaussian
noise whose every row has the norm of the weight's row, so that a step is relative; norm weights and biases stay, as
there. All of them have the norm of theta's matrices, and so does the change (checkpoint - reference), which is scaled
to it. Both checkpoints get the same noise, before it is normalised.

Each step starts from the values in the model's files, and at the end it has exactly those: no drift.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.rejuvenation.compatibility import Pair
from stages.rejuvenation.weights import Weights

#: Elements of a matrix that are moved at once, 64 MiB in float32: enough to keep a GPU busy. The noise depends on it.
STEP = 2**24


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


@torch.no_grad()
def move(model: PreTrainedModel, around: Around, direction: int | None, scale: float) -> float:
    """Set the model's matrices to theta + scale * d; returns the norm of what they really moved, relative to theta.

    In bfloat16 that differs from |scale|: small steps are rounded away or up.
    """
    squares = 0.0
    for name, parameter in _matrices(model):
        draw = Draw(around.seed, direction, name, parameter.device)
        for span in _spans(parameter):
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
        for span in _spans(parameter):
            parameter[slice(*span)] = _rows(weights, name, span).to(parameter.device).to(parameter.dtype)


def _matrices(model: PreTrainedModel) -> Iterator[tuple[str, Tensor]]:
    """What random directions move: every parameter with rows, a tied embedding once."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.dim() == 2)


def _spans(matrix: Tensor) -> Iterator[tuple[int, int]]:
    """First and last row + 1 of one part of a matrix after the other, at most `STEP` elements or one row."""
    rows, columns = matrix.shape
    step = max(1, STEP // columns)
    return ((start, min(start + step, rows)) for start in range(0, rows, step))


def _rows(weights: Weights, name: str, span: tuple[int, int]) -> Tensor:
    stored = weights.find(name)
    assert stored is not None, f"{name}: the model was loaded from these files"
    return weights.rows(stored, *span)
