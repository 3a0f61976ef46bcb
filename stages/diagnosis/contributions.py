"""Which modules, neurons and tokens an attribution is about (figures 7, 8): rankings, and how concentrated they are.

`attribution_modules.parquet`, `attribution_neurons.parquet`, `concentration.parquet`, `target_tokens.parquet`.
Suffixes: T targets, M modules, N neurons of the model, X shares of neurons.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from stages.contract import StageError
from stages.diagnosis.attributed import Attributed
from stages.rejuvenation import attribution_files, ranking
from stages.rejuvenation.selection import Selection, read_selected

BY_MODULE = "attribution_modules.parquet"
BY_NEURON = "attribution_neurons.parquet"
CONCENTRATION = "concentration.parquet"
TARGET_TOKENS = "target_tokens.parquet"

#: Points of the concentration curve in a factor of ten.
_POINTS = 8

_PLACE = [("rank", pa.int32()), ("module", pa.string()), ("layer", pa.int32()), ("kind", pa.string())]
_BY_MODULE = pa.schema([*_PLACE, ("neurons", pa.int32()), ("positive", pa.float64()), ("negative", pa.float64())])
_BY_NEURON = pa.schema(
    [*_PLACE, ("index", pa.int32()), ("score", pa.float64()), ("magnitude", pa.float64()), ("targets", pa.int32())]
)
_CONCENTRATION = pa.schema([(name, pa.float64()) for name in ("share", "held", "held_q05", "held_q50", "held_q95")])
_TARGET_TOKENS = pa.schema([("token", pa.int32()), ("text", pa.string()), ("count", pa.int32())])


def write(
    attributed: Attributed, folder: Path, rho: float, top: int, tokenizer: PreTrainedTokenizerBase
) -> dict[str, Any]:
    """Write the four files, the `top` neurons of the second, and return what sums them up.

    Raises:
        StageError: the artifact is damaged, or of a model with other modules.
    """
    positive_TM, negative_TM = module_sums(attributed)
    modules = _write_modules(attributed, folder, positive_TM.mean(0), negative_TM.mean(0))
    distinct = _write_tokens(attributed, folder, tokenizer)
    totals_T = (positive_TM - negative_TM).sum(1) if attributed.absolute else positive_TM.sum(1)
    shares = curve(attributed.neurons, attributed.keep, rho)
    scores_N, magnitudes_N = np.zeros((2, int(attributed.sizes.sum())))
    kept_N = np.zeros(len(scores_N), dtype=np.int32)
    held_TX = []
    for selection in read_selected(attributed.folder, attributed.modules, attributed.keep):
        flat = attributed.flat(selection)  # no neuron twice
        scores_N[flat] += selection.scores
        magnitudes_N[flat] += np.abs(selection.scores)
        kept_N[flat] += 1
        if totals_T[selection.target] > 0:
            held_TX.append(held(attributed, selection, shares) / totals_T[selection.target])
    means_2N = np.stack([scores_N, magnitudes_N]) / len(totals_T)
    _write_neurons(attributed, folder, means_2N, kept_N, top)
    _write_curve(folder, shares, np.array(held_TX).reshape(-1, len(shares)))
    at_rho = np.array(held_TX)[:, shares.index(rho)].mean() if held_TX else math.nan
    return {
        "attribution_targets": len(totals_T),
        "top_module": modules[0]["module"],
        "distinct_target_tokens": distinct,
        "contribution_held_at_rho": float(at_rho) if held_TX else None,
    }


def module_sums(attributed: Attributed) -> tuple[np.ndarray, np.ndarray]:
    """Sums of the positive and of the negative scores of all neurons, kept or not: two [T, M]."""
    file = attributed.folder / attribution_files.MODULES
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise StageError(f"{file}: cannot be read ({error})") from None
    order = {module.name: number for number, module in enumerate(attributed.modules)}
    names = table["module"].to_pylist()
    foreign = sorted(set(names) - order.keys())
    if foreign:
        raise StageError(f"{attributed.folder}: its {foreign[0]} does not exist in the checkpoint")
    at = (table["target"].to_numpy(), np.array([order[name] for name in names], dtype=np.int64))
    positive_TM, negative_TM = np.zeros((2, len(attributed.targets["t"]), len(order)))
    positive_TM[at], negative_TM[at] = table["positive"].to_numpy(), table["negative"].to_numpy()
    return positive_TM, negative_TM


def curve(neurons: int, keep: float, rho: float) -> list[float]:
    """Shares of neurons at which the curve is measured: from one neuron to `keep`, evenly on a log scale, with rho.

    What neurons beyond `keep` hold is not known one by one, so the curve ends there.
    """
    first = min(1 / neurons, keep)
    points = max(1, math.ceil(_POINTS * math.log10(keep / first)))
    return sorted({keep, rho, *(first * (keep / first) ** (point / points) for point in range(points))})


def held(attributed: Attributed, selection: Selection, shares: list[float]) -> np.ndarray:
    """[X]: what the best `share` of neurons contribute to one target, given all that are kept for it.

    Best is what the attribution's ranking says: among all neurons, or in each module.
    """
    weights = attributed.weights(selection.scores)
    number = attributed.number(selection)
    order = np.lexsort((-weights, number)) if attributed.per_module else np.argsort(-weights, kind="stable")
    weights, number = weights[order], number[order]
    if attributed.per_module:
        counts = np.bincount(number, minlength=len(attributed.modules))
        ranks = np.arange(len(number)) - (np.cumsum(counts) - counts)[number]
        limits = [np.array([ranking.budget(x, size) for size in attributed.sizes.tolist()])[number] for x in shares]
    else:
        ranks = np.arange(len(number))
        limits = [np.array(ranking.budget(x, attributed.neurons)) for x in shares]
    return np.array([weights[ranks < limit].sum() for limit in limits])


def _write_modules(
    attributed: Attributed, folder: Path, positive_M: np.ndarray, negative_M: np.ndarray
) -> list[dict[str, Any]]:
    """Modules that took part, by mean positive contribution to a target, largest first."""
    part = [n for n, module in enumerate(attributed.modules) if module.kind in attributed.kinds]
    rows = [
        {
            **_place(attributed, number, rank),
            "neurons": attributed.modules[number].neurons,
            "positive": positive_M[number],
            "negative": negative_M[number],
        }
        for rank, number in enumerate(sorted(part, key=lambda n: -positive_M[n]), start=1)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=_BY_MODULE), folder / BY_MODULE)
    return rows


def _write_neurons(attributed: Attributed, folder: Path, means_2N: np.ndarray, kept_N: np.ndarray, top: int) -> None:
    """Neurons by mean magnitude over all targets. A target that does not keep a neuron counts as 0: a lower bound."""
    scores_N, magnitudes_N = means_2N
    best = np.argsort(-magnitudes_N, kind="stable")[:top]
    best = best[magnitudes_N[best] > 0]
    number = np.searchsorted(np.cumsum(attributed.sizes), best, side="right")
    rows = [
        {
            **_place(attributed, module, rank),
            "index": int(flat - attributed.starts[module]),
            "score": scores_N[flat],
            "magnitude": magnitudes_N[flat],
            "targets": int(kept_N[flat]),
        }
        for rank, (flat, module) in enumerate(zip(best.tolist(), number.tolist(), strict=True), start=1)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=_BY_NEURON), folder / BY_NEURON)


def _write_curve(folder: Path, shares: list[float], held_TX: np.ndarray) -> None:
    """Mean and quantiles over the targets of the share of the whole contribution that the best neurons hold."""
    columns: dict[str, Any] = {"share": shares if len(held_TX) else []}
    columns["held"] = held_TX.mean(0) if len(held_TX) else []
    for name, of in (("q05", 0.05), ("q50", 0.5), ("q95", 0.95)):
        columns[f"held_{name}"] = np.quantile(held_TX, of, axis=0) if len(held_TX) else []
    pq.write_table(pa.table(columns, schema=_CONCENTRATION), folder / CONCENTRATION)


def _write_tokens(attributed: Attributed, folder: Path, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that are targets, by how often, ties by id; returns how many there are."""
    tokens, counts = np.unique(attributed.targets["y"], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rows = [
        {"token": token, "text": tokenizer.decode([token]), "count": count}
        for token, count in zip(tokens[order].tolist(), counts[order].tolist(), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=_TARGET_TOKENS), folder / TARGET_TOKENS)
    return len(rows)


def _place(attributed: Attributed, number: int, rank: int) -> dict[str, Any]:
    module = attributed.modules[number]
    return {"rank": rank, "module": module.name, "layer": module.layer, "kind": module.kind}
