"""Rows of parquet files and hub data sets, one dict a row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.contract import StageError


def parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    """The rows of a parquet file, read a batch at a time."""
    try:
        for batch in pq.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise StageError(f"{file}: cannot be read as parquet ({error})") from None


def folder_rows(folder: Path, config: str | None, split: str | None) -> Iterator[dict[str, Any]]:
    """The rows of a data set in a folder that is laid out as on the hub."""
    return _loaded(str(folder), None, config, split)


def hub_rows(id: str, revision: str | None, config: str | None, split: str | None) -> Iterator[dict[str, Any]]:
    """The rows of a hub data set at one commit, from the local cache where it has them."""
    return _loaded(id, revision, config, split)


def _loaded(name: str, revision: str | None, config: str | None, split: str | None) -> Iterator[dict[str, Any]]:
    import datasets  # slow to import, and not needed for files

    try:
        yield from datasets.load_dataset(name, config, split=split, revision=revision)
    except (OSError, ValueError) as error:  # what `datasets` raises for a missing set, split, file or network
        raise StageError(f"{name} (config {config}, split {split}): cannot be loaded: {error}") from None
