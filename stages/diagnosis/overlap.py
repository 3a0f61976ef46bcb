"""`resets.parquet`, `overlaps.parquet`: where the neurons that rho selects are, and whether samples agree on them.

The paper says that sets of different calibration prompts overlap substantially. Chance is what two random sets with
the same numbers of neurons in each module would have in common. With a_m and b_m of n_m neurons, the intersection in
module m is hypergeometric, so that of all modules has

    mean      mu = sum_m a_m b_m / n_m
    variance  v  = sum_m a_m b_m (n_m - a_m) (n_m - b_m) / (n_m^2 (n_m - 1))

and the Jaccard index I / (s - I), s = |A| + |B|, has the mean mu / (s - mu) + s v / (s - mu)^3 to second order in
I - mu (the delta method). Suffixes: S samples, M modules, W bytes of a set of bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.diagnosis.attributed import Attributed
from stages.rejuvenation.selection import read_selected

RESETS = "resets.parquet"
OVERLAPS = "overlaps.parquet"

_RESETS = pa.schema(
    [("module", pa.string()), ("layer", pa.int32()), ("kind", pa.string())]
    + [("neurons", pa.int32()), ("selected", pa.int32()), ("ratio", pa.float64())]
)
_OVERLAPS = pa.schema(
    [(name, pa.int32()) for name in ("sample_a", "sample_b", "size_a", "size_b", "intersection")]
    + [(name, pa.float64()) for name in ("jaccard", "intersection_chance", "jaccard_chance")]
)


@dataclass(frozen=True)
class Sets:
    """The reset set of each sample alone: as bits over all neurons, and how many are in each module.

    `near_ties`: neurons of all targets that rounding could have put on the other side of the cut.
    """

    bits_SW: np.ndarray
    counts_SM: np.ndarray
    near_ties: int


def write(attributed: Attributed, folder: Path, rho: float) -> dict[str, Any]:
    """Write both files, and return what sums them up."""
    sets = select(attributed, rho)
    union = np.unpackbits(np.bitwise_or.reduce(sets.bits_SW, axis=0), count=int(attributed.sizes.sum()))
    selected_M = np.add.reduceat(union, attributed.starts, dtype=np.int64)
    rows = [
        {
            "module": module.name,
            "layer": module.layer,
            "kind": module.kind,
            "neurons": module.neurons,
            "selected": selected,
            "ratio": selected / module.neurons,
        }
        for module, selected in zip(attributed.modules, selected_M.tolist(), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=_RESETS), folder / RESETS)
    tables = [
        pa.table({"sample_a": [a] * len(columns["sample_b"]), **columns}, schema=_OVERLAPS)
        for a, columns in _pairs(sets, attributed)
    ]
    overlaps = pa.concat_tables([_OVERLAPS.empty_table(), *tables])
    pq.write_table(overlaps, folder / OVERLAPS)
    return {
        "reset_neurons": int(selected_M.sum()),
        "reset_ratio": int(selected_M.sum()) / attributed.neurons,
        "reset_near_ties": sets.near_ties,
        "overlap_jaccard": _mean(overlaps["jaccard"]),
        "overlap_jaccard_chance": _mean(overlaps["jaccard_chance"]),
    }


def select(attributed: Attributed, rho: float) -> Sets:
    """The union over its targets of what each sample selects at `rho`, in the order of `attributed.numbers`."""
    row = {number: row for row, number in enumerate(attributed.numbers)}
    neurons = int(attributed.sizes.sum())
    bits_SW, near_ties = np.zeros((len(row), -(-neurons // 8)), dtype=np.uint8), 0
    for selection in read_selected(attributed.folder, attributed.modules, rho):
        mask = np.zeros(neurons, dtype=bool)
        mask[attributed.flat(selection)] = True
        bits_SW[row[int(attributed.targets["sample"][selection.target])]] |= np.packbits(mask)
        near_ties += selection.near_ties
    counts_SM = [
        np.add.reduceat(np.unpackbits(bits_W, count=neurons), attributed.starts, dtype=np.int64) for bits_W in bits_SW
    ]
    return Sets(bits_SW=bits_SW, counts_SM=np.array(counts_SM), near_ties=near_ties)


def chance(a_M: np.ndarray, b_SM: np.ndarray, sizes_M: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected intersection and Jaccard index of random sets, a with each of S others; NaN where both are empty."""
    a_M, b_SM, n_M = a_M.astype(np.float64), b_SM.astype(np.float64), sizes_M.astype(np.float64)
    mean_S = (a_M * b_SM / n_M).sum(-1)
    spread_SM = a_M * b_SM * (n_M - a_M) * (n_M - b_SM) / (n_M**2 * np.maximum(n_M - 1, 1))
    sizes_S = a_M.sum() + b_SM.sum(-1)
    union_S = np.where(sizes_S > 0, sizes_S - mean_S, np.nan)
    return mean_S, mean_S / union_S + sizes_S * spread_SM.sum(-1) / union_S**3


def _pairs(sets: Sets, attributed: Attributed) -> Iterator[tuple[int, dict[str, Any]]]:
    """For each sample, the columns of its rows: one for each sample after it. Two empty sets have no Jaccard index."""
    sizes_S = sets.counts_SM.sum(-1)
    for row, sample in enumerate(attributed.numbers[:-1]):
        others = slice(row + 1, None)
        common_S = np.bitwise_count(sets.bits_SW[row] & sets.bits_SW[others]).sum(-1, dtype=np.int64)
        union_S = sizes_S[row] + sizes_S[others] - common_S
        expected_S, jaccard_S = chance(sets.counts_SM[row], sets.counts_SM[others], attributed.sizes)
        some = union_S > 0
        yield (
            sample,
            {
                "sample_b": attributed.numbers[others],
                "size_a": np.full(len(common_S), sizes_S[row]),
                "size_b": sizes_S[others],
                "intersection": common_S,
                "jaccard": pa.array(common_S / np.maximum(union_S, 1), mask=~some),
                "intersection_chance": expected_S,
                "jaccard_chance": pa.array(jaccard_S, mask=~some),
            },
        )


def _mean(column: pa.ChunkedArray) -> float | None:
    """Over the rows that have a value; None if none has."""
    values = column.drop_null().to_numpy()
    return float(values.mean()) if len(values) else None
