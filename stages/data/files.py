"""Rows of text files: JSON lines, JSON and CSV, one dict a row. Light: a plan reads them too."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.contract import StageError

Row = dict[str, Any]


def jsonl_rows(file: Path) -> Iterator[Row]:
    """The objects of a JSON lines file, empty lines left out."""
    with _reading(file), file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{file}, line {number}"
                hint = "; one JSON list is a .json file" if line.lstrip()[0] == "[" else ""
                yield _row(_parsed(line, where, hint), where, hint)


def json_rows(file: Path) -> Iterator[Row]:
    """The objects of a JSON file that is one list."""
    with _reading(file):
        every = _parsed(file.read_text(encoding="utf-8-sig"), str(file), "; one object a line is a .jsonl file")
    if not isinstance(every, list):
        raise StageError(f"{file}: expected a list of objects, not {type(every).__name__}")
    for number, row in enumerate(every, start=1):
        yield _row(row, f"{file}, row {number}")


def csv_rows(file: Path) -> Iterator[Row]:
    """The lines of a CSV file by the names in its first one; what is quoted may have commas, quotes and newlines."""
    csv.field_size_limit(2**31 - 1)  # the limit of 128 KiB is shorter than some solutions
    with _reading(file), file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines, strict=True)
        try:
            for row in rows:
                if None in row or None in row.values():
                    raise StageError(f"{file}, line {rows.line_num}: not as many values as there are columns")
                yield row
        except csv.Error as error:
            raise StageError(f"{file}, line {rows.line_num}: not CSV ({error})") from None


#: By the end of the file's name.
READERS: dict[str, Callable[[Path], Iterator[Row]]] = {".jsonl": jsonl_rows, ".json": json_rows, ".csv": csv_rows}


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise StageError(f"{file}{_undecoded(file)}: not UTF-8 ({error.reason})") from None
    except OSError as error:
        raise StageError(f"{file}: cannot be read ({error.strerror})") from None


def _undecoded(file: Path) -> str:
    """Where a file is not UTF-8: `, line 3`; what it is, if it is compressed."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1 and line.startswith(b"\x1f\x8b"):
                return ", compressed by gzip (unpack it)"
            try:
                line.decode()
            except UnicodeDecodeError:
                return f", line {number}"
    return ""


def _parsed(text: str, where: str, hint: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise StageError(f"{where}: not JSON ({error.msg}){hint}") from None
    except ValueError as error:  # an integer of more digits than Python reads
        raise StageError(f"{where}: not JSON that can be read ({error})") from None
    except RecursionError:
        raise StageError(f"{where}: not JSON that can be read (nested too deep)") from None


def _row(value: Any, where: str, hint: str = "") -> Row:
    if not isinstance(value, dict):
        raise StageError(f"{where}: expected an object with columns, not {type(value).__name__}{hint}")
    return value
