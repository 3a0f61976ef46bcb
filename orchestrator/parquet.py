"""Columns of a parquet file of an artifact: of bounded size, and of the types that they should have."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from stages import jsonfile, spoilt
from stages.jsonfile import Spoilt

#: The type of a column; `?`: it may have nulls; `any`: whoever reads it looks for itself.
Type = Literal["text", "text?", "integer", "integer?", "boolean", "boolean?", "any"]

#: Rows, and bytes of the columns once they are unpacked, at most: a file of a kilobyte may hold any number.
ROWS, BYTES = 1_000_000, 2**26


def read(file: Path, wanted: Mapping[str, Type], later: Collection[str] = ()) -> dict[str, list[Any]]:
    """The wanted columns as lists; without those of `later` that the file does not have.

    Raises:
        FileNotFoundError: there is no such file.
        KeyError: it lacks a column.
        OSError, Spoilt: it cannot be read, is too large, or a column is of another type. That is noted.
    """
    import pyarrow as pa  # slow to import
    import pyarrow.parquet as pq

    try:
        with jsonfile.opened(file) as stream:
            opened = pq.ParquetFile(stream)
            names = opened.schema_arrow.names
            columns = [name for name in wanted if name in names or name not in later]
            for name in columns:
                if name not in names:
                    raise KeyError(f"no column {name}")
            check_size(opened.metadata, columns)
            table = opened.read(columns=columns)
            for name in columns:
                check(name, table.column(name), wanted[name])
            return {name: table.column(name).to_pylist() for name in columns}
    except (FileNotFoundError, KeyError):
        raise
    except (OSError, ValueError, NotImplementedError, MemoryError, pa.ArrowException) as error:
        spoilt.note(file, error)
        raise Spoilt(str(error) or type(error).__name__) from None


def check_size(metadata: Any, columns: Collection[str], *, rows: int = ROWS, size: int = BYTES) -> None:
    """Refuse what is too large to be read, by what the file says of itself.

    Raises:
        Spoilt: it is.
    """
    if metadata.num_rows > rows:
        raise Spoilt(f"it has {metadata.num_rows} rows, more than {rows}")
    unpacked = 0
    for group in range(metadata.num_row_groups):
        every = metadata.row_group(group)
        for number in range(every.num_columns):
            column = every.column(number)
            if column.path_in_schema.partition(".")[0] in columns:
                unpacked += column.total_uncompressed_size
    if unpacked > size:
        raise Spoilt(f"it has {unpacked} bytes, more than {size}")


def check(name: str, column: Any, kind: Type) -> None:
    """Refuse a column of another type.

    Raises:
        Spoilt: it is of one.
    """
    import pyarrow.types as types

    asked, nulls = kind.rstrip("?"), kind.endswith("?")
    if asked != "any" and column.null_count and not nulls:
        raise Spoilt(f"column {name} has no value in {column.null_count} rows")
    is_one = {
        "text": lambda given: types.is_string(given) or types.is_large_string(given),
        "integer": types.is_integer,
        "boolean": types.is_boolean,
        "any": lambda given: True,
    }[asked]
    if not is_one(column.type) and not (nulls and types.is_null(column.type)):
        raise Spoilt(f"column {name} is of type {column.type}, not {asked}")
