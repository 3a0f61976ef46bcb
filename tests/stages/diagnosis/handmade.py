"""Attribution artifacts of two small modules, written by hand: scores that can be added up on paper."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from stages.diagnosis.attributed import Attributed
from stages.rejuvenation.architecture import Module

Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.0.mlp.down_proj"
MODULES = [Module(Q, 0, "q_proj", 4), Module(DOWN, 0, "down_proj", 6)]

#: Scores of one target by module and index, and its sums of positive and negative scores by module.
Scores = dict[tuple[str, int], float]
Sums = dict[str, tuple[float, float]]


def attributed(
    folder: Path,
    scores: list[Scores],
    sums: list[Sums],
    *,
    samples: list[int],
    y: list[int] | None = None,
    keep: float = 1.0,
    ranking: str = "model",
    sign: str = "positive",
    kinds: list[str] | None = None,
    modules: list[Module] = MODULES,
) -> Attributed:
    """The artifact in `folder`: one target an element of `scores`, best first, of the sample in `samples`."""
    kinds = kinds or ["q_proj", "down_proj"]
    neurons = sum(module.neurons for module in modules if module.kind in kinds)
    summary = {"neurons": neurons, "keep": keep, "modules": kinds, "ranking": ranking, "sign": sign, "tie_band": 1e-4}
    (folder / "summary.json").write_text(json.dumps(summary))
    kept = [(target, *place, score) for target, of in enumerate(scores) for place, score in of.items()]
    rows = pd.DataFrame(kept, columns=["target", "module", "index", "score"])
    rows = rows.astype({"target": "int32", "index": "int32", "score": "float32"})
    write_groups(rows, folder / "neurons.parquet")
    added = [(target, module, *pair) for target, of in enumerate(sums) for module, pair in of.items()]
    frame = pd.DataFrame(added, columns=["target", "module", "positive", "negative"])
    frame.astype({"target": "int32"}).to_parquet(folder / "modules.parquet", index=False)
    return Attributed(
        folder=folder,
        modules=modules,
        kinds=kinds,
        neurons=neurons,
        keep=keep,
        per_module=ranking == "module",
        absolute=sign == "absolute",
        numbers=sorted(set(samples)),
        samples=[],
        targets={"sample": np.array(samples), "t": np.arange(len(samples)), "y": np.array(y or [1] * len(samples))},
    )


def write_groups(rows: pd.DataFrame, file: Path) -> None:
    """One row group a target."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"target": pa.int32(), "module": pa.string(), "index": pa.int32(), "score": pa.float32()}
    schema = pa.schema(list(types.items()))
    with pq.ParquetWriter(file, schema) as writer:
        for _, group in rows.groupby("target"):
            writer.write_table(pa.Table.from_pandas(group, schema=schema, preserve_index=False))
