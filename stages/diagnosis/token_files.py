"""What two models predict, side by side: `tokens`, `ranks`, `distributions` and `targets.parquet`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from transformers import PreTrainedTokenizerBase

from stages.diagnosis.attributed import Attributed
from stages.diagnosis.forward import Sample
from stages.diagnosis.outputs import Outputs

TOKENS = "tokens.parquet"
RANKS = "ranks.parquet"
DISTRIBUTIONS = "distributions.parquet"
TARGETS = "targets.parquet"

MODELS = ("reference", "checkpoint")

#: Of the positions, by the end of the column's name.
_QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}

_AT = [("sample", pa.int32()), ("t", pa.int32()), ("y", pa.int32())]
_TOKENS = pa.schema(
    _AT + [(f"{name}_{m}", pa.float32()) for name in ("entropy", "log_p", "confidence") for m in MODELS]
)
_RANKS = pa.schema(
    [("model", pa.string()), ("rank", pa.int32())]
    + [(f"{name}_{of}", pa.float64()) for name in ("logit", "p") for of in ("mean", *_QUANTILES)]
)
_DISTRIBUTIONS = pa.schema(
    _AT
    + [("token", pa.int32()), ("text", pa.string())]
    + [(f"{name}_{m}", pa.float32()) for name in ("logit", "p") for m in MODELS]
    + [(f"rank_{m}", pa.int32()) for m in MODELS]
)
_TARGETS = pa.schema(
    [("target", pa.int32()), *_AT]
    + [(f"entropy_{m}", pa.float32()) for m in MODELS]
    + [(name, pa.float64()) for name in ("h_base", "h_sft")]
)

#: The predictions of both models, by `MODELS`.
Both = dict[str, Outputs]


def write_tokens(folder: Path, samples: list[Sample], both: Both) -> None:
    """One row a response position, ordered by sample and t; t predicts y."""
    values = {
        f"{name}_{model}": getattr(outputs, f"{name}_P")
        for name in ("entropy", "log_p", "confidence")
        for model, outputs in both.items()
    }
    columns = dict(zip(("sample", "t", "y"), zip(*_places(samples), strict=True), strict=True))
    pq.write_table(pa.table({**columns, **values}, schema=_TOKENS), folder / TOKENS)


def write_ranks(folder: Path, both: Both) -> None:
    """One row a model and rank: mean and quantiles over all positions of the centred logit and of the probability."""
    rows = []
    for model, outputs in both.items():
        for rank in range(outputs.p_PK.shape[1]):
            columns = {"logit": outputs.centred_PK[:, rank], "p": outputs.p_PK[:, rank]}
            row: dict[str, Any] = {"model": model, "rank": rank + 1}
            for name, values in columns.items():
                row[f"{name}_mean"] = float(values.mean(dtype=np.float64))
                for of, share in _QUANTILES.items():
                    row[f"{name}_{of}"] = float(np.quantile(values.astype(np.float64), share))
            rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=_RANKS), folder / RANKS)


def write_distributions(
    folder: Path, samples: list[Sample], shown: list[int], both: Both, tokenizer: PreTrainedTokenizerBase
) -> None:
    """For each shown position the tokens that are among the first K of either model, with the numbers of both.

    Logits are as the model gives them; ranks count from 1, equal logits by the token's id.
    """
    places, rows = _places(samples), []
    for number, position in enumerate(shown):
        logits = {model: outputs.shown_SV[number].astype(np.float64) for model, outputs in both.items()}
        order = {model: np.argsort(-values, kind="stable") for model, values in logits.items()}
        top = {model: order[model][: outputs.p_PK.shape[1]] for model, outputs in both.items()}
        rank = {model: np.argsort(order[model]) + 1 for model in both}
        p = {model: _softmax(values) for model, values in logits.items()}
        for token in np.unique(np.concatenate(list(top.values()))).tolist():
            row: dict[str, Any] = dict(zip(("sample", "t", "y"), places[position], strict=True))
            row |= {"token": token, "text": tokenizer.decode([token])}
            for name, values in (("logit", logits), ("p", p), ("rank", rank)):
                row |= {f"{name}_{model}": values[model][token].item() for model in both}
            rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=_DISTRIBUTIONS), folder / DISTRIBUTIONS)


def write_targets(folder: Path, attributed: Attributed, entropies: dict[str, np.ndarray]) -> dict[str, float]:
    """One row a target of the attribution: its entropy in both models, and in those of the attribution itself.

    `entropies` of each model are in the order of the targets. Returns their means.
    """
    columns: dict[str, Any] = {"target": np.arange(len(attributed.targets["t"])), **attributed.targets}
    columns |= {f"entropy_{model}": values for model, values in entropies.items()}
    pq.write_table(pa.table({name: columns[name] for name in _TARGETS.names}, schema=_TARGETS), folder / TARGETS)
    return {f"entropy_at_targets_{model}": float(values.mean(dtype=np.float64)) for model, values in entropies.items()}


def summarise(both: Both) -> dict[str, Any]:
    """Means over all response positions: entropy (the paper's table 1), negative log-likelihood, confidence."""
    summary: dict[str, Any] = {"response_positions": len(both["checkpoint"].entropy_P)}
    for model, outputs in both.items():
        summary[f"entropy_{model}"] = float(outputs.entropy_P.mean(dtype=np.float64))
        summary[f"nll_{model}"] = -float(outputs.log_p_P.mean(dtype=np.float64))
        summary[f"confidence_{model}"] = float(outputs.confidence_P.mean(dtype=np.float64))
    return summary


def _places(samples: list[Sample]) -> list[tuple[int, int, int]]:
    """Sample, t and y of every position."""
    return [(n, t, y) for n, sample in enumerate(samples) for t, y in zip(sample.positions, sample.y, strict=True)]


def _softmax(logits_V: np.ndarray) -> np.ndarray:
    weights_V = np.exp(logits_V - logits_V.max())
    return weights_V / weights_V.sum()
