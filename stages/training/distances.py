"""How far a policy has moved: from where its training started, and from the base model, measured on sampled rows.

The distance is estimated from `ROWS` rows of each matrix, evenly spaced: the squared differences of its sampled rows
stand for those of all its rows. What is reported is |policy - model| / |model|, Euclidean norms over all matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from stages.contract import Input, StageError
from stages.rejuvenation.weights import Weights

#: Rows of a matrix that are looked at.
ROWS = 32


@dataclass(frozen=True)
class Sample:
    """Rows of one matrix as this rank has it.

    Attributes:
        name: of the parameter.
        rows: (R,) of the whole matrix, those that this rank has.
        local: (R,) the same rows within this rank's part.
        weight: rows of the matrix for each that is sampled.
    """

    name: str
    rows: Tensor
    local: Tensor
    weight: float


class Distances:
    """Distances of a model in training to models on disk, by name. With sharding every rank measures its own part."""

    def __init__(self, model: nn.Module, models: dict[str, Input]) -> None:
        """Sample the model's matrices, and read the same rows of `models`.

        Raises:
            StageError: one of them lacks a matrix, or has it in another shape.
        """
        self._parameters = {name: each for name, each in model.named_parameters() if each.ndim == 2}
        self._sharded = any(isinstance(each, DTensor) for each in self._parameters.values())
        self._samples = [_sample(name, each) for name, each in self._parameters.items()]
        self._kept = {name: self._read(name, source) for name, source in models.items()}

    def measure(self) -> dict[str, float]:
        """The distance to each model, by name: one reduction of a few numbers."""
        names = list(self._kept)
        sums = torch.zeros(2 * len(names), dtype=torch.float64, device=self._device())
        for sample in self._samples:
            now = self._now(sample)
            for index, name in enumerate(names):
                then = self._kept[name][sample.name]
                sums[2 * index] += sample.weight * (now - then).square().sum()
                sums[2 * index + 1] += sample.weight * then.square().sum()
        if self._sharded:
            torch.distributed.all_reduce(sums)
        moved = sums.tolist()
        return {name: math.sqrt(moved[2 * i] / moved[2 * i + 1]) for i, name in enumerate(names)}

    def _now(self, sample: Sample) -> Tensor:
        parameter = self._parameters[sample.name].detach()
        part = parameter.to_local() if isinstance(parameter, DTensor) else parameter
        return part[sample.local].float()

    def _read(self, name: str, source: Input) -> dict[str, Tensor]:
        """The sampled rows of a model on disk. A tied head is the embedding, which is among the matrices already."""
        weights = Weights(Path(source.model), tied=False)
        return {sample.name: self._rows(weights, sample, name) for sample in self._samples}

    def _rows(self, weights: Weights, sample: Sample, name: str) -> Tensor:
        shape = tuple(self._parameters[sample.name].shape)
        stored = weights.find(sample.name)
        if stored is None or stored.shape != shape:
            raise StageError(
                f"distances: {name} has {sample.name} of shape {None if stored is None else stored.shape}, the policy "
                f"of {shape}; they are not two states of one model, so leave {name} out of grpo.distances"
            )
        rows = [weights.rows(stored, row, row + 1) for row in sample.rows.tolist()]
        return torch.cat(rows or [torch.empty(0, shape[1])]).to(self._device(), torch.float32)

    def _device(self) -> torch.device:
        return next(iter(self._parameters.values())).device


def _sample(name: str, parameter: Tensor) -> Sample:
    """The rows of a matrix that are looked at, as far as this rank has them."""
    total = parameter.shape[0]
    rows = torch.linspace(0, total - 1, min(ROWS, total)).round().long().unique()
    weight = total / len(rows)
    start, length = 0, total
    if isinstance(parameter, DTensor):  # rows are dealt out in equal chunks, of which the last may be smaller
        start = parameter.device_mesh.get_local_rank() * -(-total // parameter.device_mesh.size())
        length = parameter.to_local().shape[0]
    mine = rows[(rows >= start) & (rows < start + length)]
    return Sample(name, mine, (mine - start).to(parameter.device), weight)
