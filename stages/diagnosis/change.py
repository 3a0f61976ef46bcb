"""The element-wise change of one tensor, gathered over blocks of its rows: moments, a histogram and a map of spikes.

Shapes: a block has R rows; a matrix has C columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

_MANTISSA_BITS = 23


@dataclass
class Moments:
    """Count, mean and squared deviations of what was added so far, in float64 (Chan, Golub and LeVeque's update).

    `largest` is the largest magnitude, `at` its index in the tensor, the first if there are several.
    """

    count: int = 0
    mean: float = 0.0
    deviations: float = 0.0
    absolute: float = 0.0
    largest: float = -1.0
    at: list[int] = field(default_factory=list)

    def add(self, change: Tensor, start: int) -> None:
        """Add a block of finite values whose rows begin at row `start` of the tensor."""
        size = change.numel()
        if size == 0:
            return
        exact = change.double()
        mean = exact.sum().item() / size
        exact = exact.sub_(mean).view(-1)
        total, step = self.count + size, mean - self.mean
        self.deviations += torch.dot(exact, exact).item() + step**2 * self.count * size / total
        self.mean += step * size / total
        self.count = total
        magnitude = change.abs()
        self.absolute += magnitude.sum(dtype=torch.float64).item()
        largest = magnitude.max().item()
        if largest > self.largest:
            index = (magnitude == largest).nonzero()[0].tolist()
            self.largest, self.at = largest, [start + index[0], *index[1:]] if index else []

    @property
    def norm(self) -> float:
        """l2."""
        return math.sqrt(self.deviations + self.count * self.mean**2)

    @property
    def deviation(self) -> float:
        """Standard deviation of the population."""
        return math.sqrt(self.deviations / self.count)


def histogram(change: Tensor, bins: int) -> np.ndarray:
    """Counts of float32 values by magnitude, `bins` a doubling: [2, N], not negative and negative.

    A bin is what a float32 has in its exponent and its first bits of mantissa, so that a value never lies on the
    wrong side of an edge, and spikes that are a thousand times the rest still have bins of their own. Bin n begins
    at `edge(n, bins)`; bin 0 has the zeros, of either sign, as not negative.

    >>> histogram(torch.tensor([1.0, 1.9, -2.0]), 1).nonzero()
    (array([0, 1]), array([127, 128]))
    """
    shift = _shift(bins)
    words = (change + 0.0).view(torch.int32)  # -0.0 becomes 0.0
    keys = (words >> shift) & (2 ** (32 - shift) - 1)
    return torch.bincount(keys.view(-1), minlength=2 ** (32 - shift)).view(2, -1).numpy()


def edge(number: int, bins: int) -> float:
    """The smallest magnitude of bin `number`, exact. `edge(127, 1)` is 1.0; after the last bin comes infinity."""
    return float(np.array([number << _shift(bins)], dtype=np.int32).view(np.float32)[0])


def _shift(bins: int) -> int:
    """How many low bits of a float32 a bin forgets."""
    assert bins in (1, 2, 4, 8), bins
    return _MANTISSA_BITS - (bins.bit_length() - 1)


class SpikeMap:
    """The largest magnitude in each cell of a grid over a matrix: at most `cells` x `cells`, never finer than it."""

    def __init__(self, shape: tuple[int, int], cells: int) -> None:
        self._rows, self._columns = (_edges(size, cells) for size in shape)
        self.largest = np.zeros((len(self._rows) - 1, len(self._columns) - 1), dtype=np.float32)

    def add(self, change_RC: Tensor, start: int) -> None:
        """Add a block of rows that begins at row `start` of the matrix."""
        magnitude_RC = change_RC.abs().numpy()
        stop = start + len(magnitude_RC)
        for cells, (first, end) in zip(self.largest, pairwise(self._rows), strict=True):
            if first < stop and end > start:
                largest_C = magnitude_RC[max(first - start, 0) : end - start].max(axis=0)
                np.maximum(cells, np.maximum.reduceat(largest_C, self._columns[:-1]), out=cells)


def _edges(size: int, cells: int) -> list[int]:
    """Where cells begin, and the end: `_edges(5, 2)` is [0, 2, 5]."""
    cells = min(size, cells)
    return [cell * size // cells for cell in range(cells + 1)]
