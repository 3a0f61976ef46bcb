"""`weights.parquet`, `changes.parquet`, `maps.parquet`: how far every tensor moved, streamed over both checkpoints.

Change is checkpoint - reference, in float32; sums are float64. Every tensor is read twice: how much of it lies beyond
k sigma can be counted only when sigma is known. Several tensors are in work at once, each on one thread.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from stages.contract import StageError
from stages.diagnosis.change import Moments, SpikeMap, edge, histogram
from stages.headers import Stored
from stages.rejuvenation import lanes
from stages.rejuvenation.compatibility import Pair
from stages.rejuvenation.lanes import Buffers
from stages.rejuvenation.weights import largest_block, not_finite, row_blocks

WEIGHTS = "weights.parquet"
CHANGES = "changes.parquet"
MAPS = "maps.parquet"

_WEIGHTS = pa.schema(
    [("tensor", pa.string()), ("layer", pa.int32()), ("kind", pa.string())]
    + [("shape", pa.list_(pa.int64())), ("elements", pa.int64())]
    + [(name, pa.float64()) for name in ("norm", "mean", "mean_absolute", "deviation", "largest")]
    + [("largest_at", pa.list_(pa.int64())), ("unchanged", pa.int64()), ("beyond", pa.int64())]
    + [(f"{name}_{model}", pa.float64()) for model in ("reference", "checkpoint") for name in ("norm", "rms", "max")]
    + [("relative", pa.float64())]
)
_CHANGES = pa.schema(
    [("tensor", pa.string()), ("lower", pa.float32()), ("upper", pa.float32())]
    + [("negative", pa.int64()), ("positive", pa.int64())]
)
_MAPS = pa.schema(
    [("tensor", pa.string()), ("rows", pa.int32()), ("columns", pa.int32()), ("largest", pa.list_(pa.float32()))]
)

_LAYER = re.compile(r"model\.layers\.(\d+)\.(?:self_attn\.|mlp\.)?")


@dataclass(frozen=True)
class Settings:
    """`bins` a doubling of the histogram, `sigma`: the k of beyond k sigma, `cells` a side of a map."""

    bins: int
    sigma: float
    cells: int


def measure(
    pair: Pair, settings: Settings, folder: Path, tick: Callable[[], None], *, threads: int
) -> list[dict[str, Any]]:
    """Write the three files, call `tick` after each tensor, and return the rows of weights.parquet.

    Raises:
        StageError: a value of either checkpoint is not finite, or their difference overflows float32.
    """
    rows, bins, maps = [], [], []
    tensors = pair.checkpoint.parameters
    work = partial(_measure_tensor, pair, settings)
    found = lanes.run(work, tensors.values(), elements=largest_block(tensors.values()), threads=threads)
    for name, (row, counts_2N, spikes) in zip(tensors, found, strict=True):
        rows.append({"tensor": name, **dict(zip(("layer", "kind"), place(name), strict=True)), **row})
        bins += [{"tensor": name, **of_bin} for of_bin in _bins(counts_2N, row["unchanged"], settings.bins)]
        if spikes is not None:
            height, width = spikes.largest.shape
            maps.append({"tensor": name, "rows": height, "columns": width, "largest": spikes.largest.ravel()})
        tick()
    for file, of_file, schema in ((WEIGHTS, rows, _WEIGHTS), (CHANGES, bins, _CHANGES), (MAPS, maps, _MAPS)):
        pq.write_table(pa.Table.from_pylist(of_file, schema=schema), folder / file)
    return rows


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The weights of all parameters together, and of each kind."""
    spike = max(rows, key=lambda row: row["largest"])
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in dict.fromkeys(row["kind"] for row in rows)}
    return {
        **_together(rows),
        "change_largest_in": spike["tensor"],
        "change_largest_at": spike["largest_at"],
        "kinds": {kind: _together(of_kind) for kind, of_kind in kinds.items()},
    }


def place(name: str) -> tuple[int | None, str]:
    """Layer and kind of a tensor: (0, "q_proj"), (0, "q_proj.bias"), (3, "input_layernorm"), (None, "embed_tokens")."""
    found = _LAYER.match(name)
    rest = name[found.end() :] if found else name.removeprefix("model.")
    return int(found[1]) if found else None, rest.removesuffix(".weight")


def _measure_tensor(
    pair: Pair, settings: Settings, buffers: Buffers, tensor: Stored
) -> tuple[dict[str, Any], np.ndarray, SpikeMap | None]:
    """The row of weights.parquet, the counts of the histogram, and the map, if the tensor is a matrix."""
    moments, unchanged, magnitudes = Moments(), 0, [_Magnitude(), _Magnitude()]
    counts_2N = histogram(torch.empty(0), settings.bins)
    spikes = SpikeMap((tensor.shape[0], tensor.shape[1]), settings.cells) if len(tensor.shape) == 2 else None
    for start, theirs, ours, change in _blocks(pair, tensor, buffers):
        moments.add(change, start)
        unchanged += change.numel() - int(change.count_nonzero())
        counts_2N = counts_2N + histogram(change, settings.bins)
        for magnitude, values in zip(magnitudes, (theirs, ours), strict=True):
            magnitude.add(values)
        if spikes is not None:
            spikes.add(change, start)
    limit, mean = settings.sigma * moments.deviation, moments.mean
    beyond = sum(
        int((change.double().sub_(mean).abs_() > limit).count_nonzero())
        for _, _, _, change in _blocks(pair, tensor, buffers)
    )
    reference, checkpoint = (magnitude.columns(tensor.elements) for magnitude in magnitudes)
    row = {
        "shape": list(tensor.shape),
        "elements": tensor.elements,
        "norm": moments.norm,
        "mean": mean,
        "mean_absolute": moments.absolute / tensor.elements,
        "deviation": moments.deviation,
        "largest": moments.largest,
        "largest_at": moments.at,
        "unchanged": unchanged,
        "beyond": beyond,
        **{f"{key}_reference": value for key, value in reference.items()},
        **{f"{key}_checkpoint": value for key, value in checkpoint.items()},
        "relative": moments.norm / reference["norm"] if reference["norm"] else None,
    }
    return row, counts_2N, spikes


def _blocks(pair: Pair, tensor: Stored, buffers: Buffers) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """First row, reference, checkpoint and change of one block of rows after the other, in float32."""
    other = pair.base.find(tensor.name)
    assert other is not None, f"{tensor.name}: the pair was found to match"
    for span in row_blocks(tensor.shape):
        theirs = pair.base.rows(other, *span, buffers.theirs)
        ours = pair.checkpoint.rows(tensor, *span, buffers.ours)
        change = ours.float() - theirs.float()
        if not math.isfinite(change.sum(dtype=torch.float64)):  # finite float32 cannot overflow that
            damage = [not_finite(other, theirs, span[0]), not_finite(tensor, ours, span[0])]
            overflow = f"{tensor.file}: {tensor.name}: its change overflows float32"
            raise StageError("\n".join(line for line in damage if line) or overflow)
        yield span[0], theirs.float(), ours.float(), change


@dataclass
class _Magnitude:
    """Sum of squares and largest |w| of the blocks so far."""

    squares: float = 0.0
    largest: float = 0.0

    def add(self, values: Tensor) -> None:
        self.squares += torch.linalg.vector_norm(values, dtype=torch.float64).item() ** 2
        self.largest = max(self.largest, values.abs().max().item())

    def columns(self, elements: int) -> dict[str, float]:
        return {"norm": math.sqrt(self.squares), "rms": math.sqrt(self.squares / elements), "max": self.largest}


def _bins(counts_2N: np.ndarray, unchanged: int, bins: int) -> Iterator[dict[str, Any]]:
    """The bins that are not empty, in ascending order, without the unchanged elements, which bin 0 counts too."""
    counts_2N = counts_2N.copy()
    counts_2N[0, 0] -= unchanged
    for number in np.flatnonzero(counts_2N.any(axis=0)).tolist():
        positive, negative = counts_2N[:, number].tolist()
        yield {
            "lower": edge(number, bins),
            "upper": edge(number + 1, bins),
            "negative": negative,
            "positive": positive,
        }


def _together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    elements = sum(row["elements"] for row in rows)
    norms = {
        key: math.sqrt(math.fsum(row[key] ** 2 for row in rows))
        for key in ("norm", "norm_reference", "norm_checkpoint")
    }
    return {
        "elements": elements,
        "change_norm": norms["norm"],
        "change_relative": norms["norm"] / norms["norm_reference"] if norms["norm_reference"] else None,
        "change_largest": max(row["largest"] for row in rows),
        "share_beyond_sigma": sum(row["beyond"] for row in rows) / elements,
        "share_unchanged": sum(row["unchanged"] for row in rows) / elements,
        **{f"weight_rms_{m}": norms[f"norm_{m}"] / math.sqrt(elements) for m in ("reference", "checkpoint")},
        **{f"weight_largest_{m}": max(row[f"max_{m}"] for row in rows) for m in ("reference", "checkpoint")},
    }
