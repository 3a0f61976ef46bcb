"""Rows of a data source: JSON lines, parquet or a hub data set, turned into the fields that the stages read.

A source's `reading` says how: `file` (inside a folder or an artifact), `config` and `split` (of a hub data set; of a
file, `split` is rows such as `[-32:]`, the last 32) and `fields`: field -> template over the source's columns, for
example

    {"prompt": "Human: {question}\\nAssistant:", "answer": "{answer}"}

so that a data set of another shape is one YAML and no code. The stages know the fields `prompt`, `completion`
(demonstrations, calibration) and `answer` (reinforcement learning, benchmarks).
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.contract import Input, StageError

#: How a file is read, by the end of its name.
SUFFIXES = (".jsonl", ".parquet")


def columns(fields: Mapping[str, str]) -> set[str]:
    """The columns that the templates name. `columns({"prompt": "Q: {question}"})` is `{"question"}`."""
    parts = (part for template in fields.values() for part in string.Formatter().parse(template))
    return {name.split(".")[0].split("[")[0] for _, name, _, _ in parts if name}


def load(source: Input, limit: int | None = None) -> list[dict[str, str]]:
    """The first `limit` rows (all if None) of a source in its own order, one dict of rendered fields a row.

    Raises:
        StageError: the file is missing, empty, not UTF-8 or not JSON, or a row lacks a column.
    """
    fields = source.reading["fields"]
    rows: list[dict[str, str]] = []
    for number, row in enumerate(_raw(source), start=1):
        if limit is not None and len(rows) == limit:
            break
        rows.append(render(fields, row, where=f"{_name(source)}, row {number}"))
    if not rows:
        raise StageError(f"{_name(source)}: no rows")
    return rows


def render(fields: Mapping[str, str], row: Mapping[str, Any], *, where: str) -> dict[str, str]:
    """Fill the templates from one row."""
    missing = columns(fields) - row.keys()
    if missing:
        raise StageError(f"{where}: no column {_listed(missing)}; it has {_listed(row)}")
    return {name: template.format(**row) for name, template in fields.items()}


def read_jsonl(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON lines file, empty lines left out."""
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _object(line, f"{file}, line {number}")
    except UnicodeDecodeError as error:
        raise StageError(f"{file}: not UTF-8 ({error.reason} at byte {error.start} of a block)") from None
    except OSError as error:
        raise StageError(f"{file}: cannot be read ({error.strerror})") from None


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise StageError(f"{where}: not JSON ({error.msg})") from None
    if not isinstance(row, dict):
        raise StageError(f"{where}: expected an object with columns, not {type(row).__name__}")
    return row


def _raw(source: Input) -> Iterator[Mapping[str, Any]]:
    if source.path is None:
        from stages.data import tables  # imports pyarrow, which is slow to load

        assert source.hub is not None
        return tables.hub_rows(source.hub, source.revision, source.reading.get("config"), source.reading.get("split"))
    file = source.path / source.reading["file"] if source.reading.get("file") else source.path
    split = source.reading.get("split")
    if file.suffix == ".jsonl":
        return _part(read_jsonl(file), split)
    if file.suffix == ".parquet":
        from stages.data import tables

        return _part(tables.parquet_rows(file), split)
    raise StageError(f"{file}: a data file ends in one of {_listed(SUFFIXES)}")


def _part(every: Iterator[Mapping[str, Any]], split: str | None) -> Iterator[Mapping[str, Any]]:
    """The rows of a file that `split` names, as Python names those of a list; but `[-0:]` is none, not all."""
    if split is None:
        return every
    named = re.fullmatch(r"\[(-?\d+)?:(-?\d+)?\]", split)
    if named is None:
        raise StageError(f"split={split!r}: of a file, rows such as [-32:] or [100:200]")
    held = list(every)
    first, last = (len(held) if text == "-0" else None if text is None else int(text) for text in named.groups())
    return iter(held[first:last])


def _name(source: Input) -> str:
    return str(source.path or source.hub)


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
