"""What a run gets from its node's artifact: numbers, a table of generations, and a curve that nobody followed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import wandb

from stages import jsonfile

#: Columns of the table of generations, and characters of a text in it.
COLUMNS = ("problem", "sample", "prompt", "completion", "extracted", "gold", "correct", "error", "tokens")
LONGEST = 4000

#: Files of a training's rows -> the name of the curve.
CURVES = {"training.jsonl": "train", "validation.jsonl": "validation"}

#: Of a record: what a node took. They are under `node/`, since a stage's own numbers may be called the same.
COSTS = ("seconds", "attempts", "peak_memory", "peak_gpu_memory")


def summary(record: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The numbers of a published node. A failure that an earlier attempt left is taken back."""
    costs = {f"node/{name}": record[name] for name in COSTS if record.get(name) is not None}
    if "seconds" in record:
        gpus = [gpu for gpu in str(record.get("gpus") or "").split(",") if gpu.strip()]
        costs["node/gpu_hours"] = record["seconds"] * len(gpus) / 3600
    return {**record["summary"], **costs, "node/state": "done", "node/failure": "", "node/folder": str(folder)}


def generations(folder: Path, problems: int) -> wandb.Table | None:
    """The first sample of the first problems of an evaluation; None if it is none."""
    file = folder / "generations.parquet"
    if not problems or not file.is_file():
        return None
    table = wandb.Table(columns=list(COLUMNS))
    seen: set[Any] = set()
    for row in _samples(file):
        if row["problem"] in seen:
            continue
        if len(seen) == problems:
            return table
        seen.add(row["problem"])
        table.add_data(*(_short(row[name]) for name in COLUMNS))
    return table


def _samples(file: Path) -> Iterator[dict[str, Any]]:
    try:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=256, columns=list(COLUMNS)):
            yield from batch.to_pylist()
    except (OSError, ValueError, NotImplementedError) as error:
        raise ValueError(f"{file}: {error}") from None


def curves(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of all curves of an artifact, step by step.

    Raises:
        ValueError: a file of rows is spoilt.
    """
    rows = [(kind, row) for name, kind in CURVES.items() if (folder / name).is_file() for row in _rows(folder / name)]
    yield from sorted((each for each in rows if "step" in each[1]), key=lambda each: int(each[1]["step"]))


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = jsonfile.text(file).splitlines()
        for number, line in enumerate(lines, start=1):
            row = jsonfile.parse(line)
            if not isinstance(row, dict) or not isinstance(row.get("step", 0), int):
                raise ValueError(f"line {number} is no row of a curve")
            yield row
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from None


def _short(value: Any) -> Any:
    """A value of a cell: a long text is cut, and says so."""
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]} ... ({len(value) - LONGEST} more characters)"
    return value
