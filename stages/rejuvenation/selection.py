"""Which neurons each target of an attribution selects at some rho, read back from its files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.contract import StageError
from stages.rejuvenation.architecture import Module
from stages.rejuvenation.attribution_files import NEURONS, SUMMARY
from stages.rejuvenation.ranking import budget


@dataclass(frozen=True)
class Selection:
    """The neurons that one target selects, best first: neuron i is `index[i]` of the module `names[number[i]]`.

    `near_ties`: kept neurons that rounding could have put on the other side of the cut (`ranking.TIE_BAND`).
    """

    target: int
    names: list[str]
    number: np.ndarray
    index: np.ndarray
    scores: np.ndarray
    near_ties: int


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of an attribution.

    Raises:
        StageError: it is not there, or of an attribution that says less.
    """
    try:
        summary: dict[str, Any] = json.loads((folder / SUMMARY).read_text())
    except (OSError, ValueError) as error:
        raise StageError(f"{folder / SUMMARY}: cannot be read ({error})") from None
    missing = {"neurons", "keep", "modules", "ranking", "sign", "tie_band"} - summary.keys()
    if missing:
        raise StageError(f"{folder / SUMMARY}: lacks {', '.join(sorted(missing))}; attribute again")
    return summary


def read_selected(folder: Path, modules: list[Module], rho: float) -> Iterator[Selection]:
    """What each target selects at `rho`, at most the attribution's `keep`, of a model with these `modules`.

    A target that nothing pushes selects nothing and is left out.

    Raises:
        StageError: the file is damaged, or of a model with other modules.
    """
    summary = read_summary(folder)
    sizes = {module.name: module.neurons for module in modules if module.kind in summary["modules"]}
    whole = budget(rho, sum(sizes.values())) if summary["ranking"] == "model" else None
    try:
        file = pq.ParquetFile(folder / NEURONS, read_dictionary=["module"])
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            wanted = rows if whole is None else min(rows, 2 * whole)  # beyond the cut, to see what nearly ties with it
            batch = next(file.iter_batches(batch_size=wanted, row_groups=[group]))
            names, number = batch["module"].dictionary.to_pylist(), batch["module"].indices.to_numpy()
            unknown = [name for name in names if name not in sizes]
            if unknown:
                raise StageError(f"{folder}: its {unknown[0]} does not exist in the checkpoint, or is larger there")
            index, scores = batch["index"].to_numpy(), batch["score"].to_numpy()
            if whole is None:
                cuts = [(np.flatnonzero(number == code), budget(rho, sizes[name])) for code, name in enumerate(names)]
            else:
                cuts = [(np.arange(len(scores)), whole)]
            kept = np.sort(np.concatenate([places[:count] for places, count in cuts]))
            band = summary["tie_band"] * abs(float(scores[0]))
            ties = sum(_near_ties(np.abs(scores[places]), count, band) for places, count in cuts)
            yield Selection(batch["target"][0].as_py(), names, number[kept], index[kept], scores[kept], ties)
    except (OSError, pa.ArrowInvalid) as error:
        raise StageError(f"{folder / NEURONS}: cannot be read ({error})") from None


def _near_ties(weights: np.ndarray, count: int, band: float) -> int:
    """Neurons within `band` of the last that is kept, on either side; none if nothing was cut off.

    >>> _near_ties(np.array([5.0, 3.0, 2.9, 2.8, 1.0]), count=3, band=0.15)
    2
    """
    if count == 0 or len(weights) <= count:
        return 0
    return int((np.abs(weights - weights[count - 1]) <= band).sum()) - 1
