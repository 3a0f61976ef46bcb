"""How many rows a data source has, where that can be known before anybody reads it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from orchestrator.graph import Node
from orchestrator.sources import CHECKED_BYTES, Source, published
from stages import rows
from stages.store import Store


def count(given: Node | Source | None, store: Store) -> int | None:
    """The rows of a source, or of the part of it that its `split` names; None if they are not known."""
    if not isinstance(given, Source):
        return None
    if given.rows is not None:
        return given.rows
    whole = _whole(given, store)
    _, part = rows.split_of(given.reading.get("split"))
    return whole if whole is None or part is None else len(range(whole)[part])


def _whole(source: Source, store: Store) -> int | None:
    name = source.reading.get("file")
    if source.origin is not None:
        made = store.find(source.origin.stage, source.origin.fingerprint)
        if made is not None and name is not None:
            return _in_file(made / name)
        field = published(source.origin.stage).get(str(PurePosixPath(name or "")))
        return None if field is None else int(source.origin.config[field])
    if source.path is None:  # on the hub
        return None
    return _in_file(source.path / name if name else source.path)


def _in_file(file: Path) -> int | None:
    """Lines that are rows, or what a parquet file says of itself; not of a file that takes long to read."""
    if not file.is_file():
        return None
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq  # slow to import

        try:
            return int(pq.read_metadata(file).num_rows)
        except (OSError, ValueError):
            return None
    if file.suffix != ".jsonl" or file.stat().st_size > CHECKED_BYTES:
        return None
    with file.open("rb") as lines:
        return sum(1 for line in lines if line.strip())
