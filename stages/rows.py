"""Rows of a data source: a file, a folder or a hub data set, turned into the fields that the stages read.

A source's `reading` says how: `file` (inside a folder or an artifact), `config` and `split` (of a data set; of a file,
`split` may be rows such as `[-32:]`, the last 32) and `fields`: field -> Jinja template over the source's columns, for
example

    {"question": "{{ problem }}", "prompt": "Human: {{ question }}\\nAssistant:", "answer": "{{ answer | trim }}"}

so that a data set of another shape is one YAML and no code. Fields are rendered in their order, and each sees the
columns and the fields before it; `row` is the whole row, for columns that are no names: `{{ row['Correct Answer'] }}`.
Every field is a text, except `choices`, which is an expression and gives a list of texts: `choices.text`, `[A, B]`.
What is no text (a list, an object, a boolean, NaN, null) is never written out as Python would write it, and a text is
never taken for a list of its characters: either is refused by row and column (`stages.data.values`).

The stages know the fields `prompt`, `completion` (demonstrations, calibration), `question`, `answer`, `choices`
(benchmarks) and `answer` with `prompt` (reinforcement learning).
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import meta

from stages.contract import Input, StageError
from stages.data import files, values
from stages.data.templates import ENVIRONMENT
from stages.data.values import NoList, NoText
from stages.hub import Repository

#: The field that is a list of texts.
CHOICES = "choices"

#: Fields that a row cannot do without, where they are named.
_FILLED = ("question", "prompt")

#: How a file is read, by the end of its name.
SUFFIXES = (*files.READERS, ".parquet")

Fields = Mapping[str, str]
Row = dict[str, Any]


def columns(fields: Fields) -> set[str]:
    """The columns that the templates name.

    `columns({"question": "{{ problem }}", "prompt": "Q: {{ question }}"})` is `{"problem"}`.

    Raises:
        StageError: a template is not one.
    """
    return set(_compiled(tuple(fields.items())).columns)


def load(source: Input, limit: int | None = None) -> list[Row]:
    """The first `limit` rows (all if None) of a source in its own order, one dict of rendered fields a row.

    Raises:
        StageError: the file is missing, empty or not of its kind, a row lacks a column, or a field cannot be rendered.
    """
    return list(islice(stream(source), limit))


def stream(source: Input) -> Iterator[Row]:
    """The rows of a source like `load`, one at a time: for data that is larger than what is made of it.

    Raises:
        StageError: as `load`, when it comes to the row.
    """
    number = 0
    for number, row in numbered(source):
        yield render(source.reading["fields"], row, where=f"{_name(source)}, row {number}")
    if not number:
        raise StageError(f"{_name(source)}: no rows")


def numbered(source: Input) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a source as they are, column -> value, each with its number in the file or split, from 1.

    Raises:
        StageError: as `read`.
    """
    _, part = split_of(source.reading.get("split"))
    every = enumerate(_raw(source), start=1)
    if part is None:
        return every
    if min(part.start or 0, part.stop or 0) >= 0:
        return islice(every, part.start, part.stop)
    return iter(list(every)[part])


def render(fields: Fields, row: Mapping[str, Any], *, where: str) -> Row:
    """Fill the templates from one row.

    Raises:
        StageError: a column is missing, a value is null, a prompt is empty, or a template fails.
    """
    compiled = _compiled(tuple(fields.items()))
    for field, name in compiled.braced:
        if name in row or name in fields:
            what = f"a column is written {{{{ {name} }}}}, not {{{name}}}"
            raise StageError(f"{where}, field {field}: {fields[field]!r}: {what}")
    missing = compiled.columns - row.keys()
    if missing:
        raise StageError(f"{where}: no column {_listed(missing)}; it has {_listed(row)}")
    seen: Row = {}
    filled: Row = {}
    for field, fill in compiled.fill.items():
        try:
            seen = seen or compiled.seen(row)
            filled[field] = fill(seen)
            seen[field] = values.seen(filled[field])
        except (NoText, NoList) as error:
            column = _column(seen, compiled.named[field], error.value)
            raise StageError(f"{where}, {column}field {field}: {fields[field]!r} cannot be filled: {error}") from None
        except Exception as error:  # whatever a template does with a row's values
            why = str(error) or type(error).__name__
            raise StageError(f"{where}, field {field}: {fields[field]!r} cannot be filled: {why}") from None
        if field in _FILLED and not filled[field].strip():
            raise StageError(f"{where}, field {field}: {fields[field]!r} is empty")
    return filled


def template(key: str, text: str) -> jinja2.Template:
    """A Jinja template that gives a text; `key` is where it stands.

    Raises:
        StageError: it is none.
    """
    try:
        return ENVIRONMENT.from_string(text)
    except jinja2.TemplateSyntaxError as error:
        raise StageError(f"{key}={text!r}: no Jinja template: {error.message} (line {error.lineno})") from None


class _Compiled:
    """Fields whose templates are compiled.

    Attributes:
        columns: those that they need.
        named: field -> the names in its template that are columns, or `row`.
        fill: what renders each field from what it sees.
        braced: (field, name) for `{name}`, which would be a text like any other. That of `\\boxed{name}` is one.
    """

    def __init__(self, fields: Fields) -> None:
        self.named: dict[str, set[str]] = {}
        before: set[str] = set()
        for field, text in fields.items():
            self.named[field] = _undeclared(field, text) - before
            before.add(field)
        self.columns = {name for names in self.named.values() for name in names} - {"row"}
        self.braced = [
            (field, name)
            for field, text in fields.items()
            for name in re.findall(r"(?<![{\w])\{(\w+)(?:[.\[][^{}]*)?\}(?!\})", text)
        ]
        self.fill: dict[str, Callable[[Row], Any]] = {
            field: _choices(text) if field == CHOICES else template(field, text).render
            for field, text in fields.items()
        }

    def seen(self, row: Mapping[str, Any]) -> Row:
        """A row as the templates see it: the columns that they name, and all of it if one names `row`."""
        found: Row = {name: values.seen(row[name]) for name in self.columns}
        return found | ({"row": values.seen(row)} if any("row" in names for names in self.named.values()) else {})


def _column(seen: Row, names: set[str], value: Any) -> str:
    """`column messages[0].content, ` for the column in which a value is; nothing if it is in none of them."""
    places = {name: seen[name] for name in sorted(names - {"row"})} | (seen["row"] if "row" in names else {})
    for name, each in places.items():
        for path, part in _parts(name, each):
            if part is value:
                return f"column {path}, "
    return f"column {', '.join(places)}, " if "row" not in names and places else ""


def _parts(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A value and all that is in it, by the path to each."""
    yield path, value
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, each in inside:
        yield from _parts(f"{path}.{name}" if isinstance(name, str) else f"{path}[{name}]", each)


@functools.lru_cache(maxsize=1024)
def _compiled(items: tuple[tuple[str, str], ...]) -> _Compiled:
    return _Compiled(dict(items))


def _choices(text: str) -> Callable[[Row], list[str]]:
    """What gives the list of texts that the expression `text` stands for."""
    _undeclared(CHOICES, text)  # refuses what is no expression
    expression = ENVIRONMENT.compile_expression(text, undefined_to_none=False)

    def fill(seen: Row) -> list[str]:
        found = expression(seen)
        if isinstance(found, values.Text):
            raise NoList(found)
        if isinstance(found, str | Mapping) or not isinstance(found, Iterable):
            raise TypeError(f"it gives {values.shown(found)}, not a list")
        return [values.plain(choice) for choice in found]

    return fill


def _undeclared(field: str, text: str) -> set[str]:
    """The names that a template, or the expression of `choices`, takes from outside."""
    if field != CHOICES:
        template(field, text)  # refuses what does not parse, and what parses but does not compile
        return meta.find_undeclared_variables(ENVIRONMENT.parse(text))
    try:
        ENVIRONMENT.compile_expression(text)
        return meta.find_undeclared_variables(ENVIRONMENT.parse(f"{{{{ ({text}) }}}}"))
    except jinja2.TemplateSyntaxError as error:
        what = "an expression that gives a list, such as choices.text, without {{ }}"
        raise StageError(f"{field}={text!r}: {what}: {error.message}") from None


def _raw(source: Input) -> Iterator[Mapping[str, Any]]:
    """The rows as they are: column -> value."""
    config = source.reading.get("config")
    name, _ = split_of(source.reading.get("split"))
    file = source.path and (source.path / source.reading["file"] if source.reading.get("file") else source.path)
    if file is None:
        from stages.data import tables  # imports pyarrow, which is slow to load

        assert source.hub is not None and source.revision is not None
        repository = Repository(id=source.hub, kind="dataset", revision=source.revision)
        return tables.hub_rows(repository, config, name)
    if file.is_dir():
        from stages.data import tables

        return tables.folder_rows(file, config, name)
    return read(file)  # one split alone, whatever its name, as it may stand in for a data set that has several


def read(file: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of one file.

    Raises:
        StageError: it cannot be read, or not as what its name says.
    """
    if file.exists() and not file.is_file():
        raise StageError(f"{file}: neither a file nor a folder")  # to open a pipe would wait for who writes
    if file.suffix in files.READERS:
        return files.READERS[file.suffix](file)
    if file.suffix == ".parquet":
        from stages.data import tables

        return tables.parquet_rows(file)
    raise StageError(f"{file}: a data file ends in one of {', '.join(SUFFIXES)}")


def inside(folder: Path, name: str) -> Path:
    """The file of that name in a folder.

    Raises:
        StageError: it is somewhere else, by its name or through a link.
    """
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise StageError(f"{file}: not inside of {folder}")
    return file


def split_of(split: str | None) -> tuple[str | None, slice | None]:
    """The name and the rows in `test[10:20]`, as Python names those of a list; but `[-0:]` is none, not all."""
    found = re.fullmatch(r"([\w.-]+)?(\[(-?\d+)?:(-?\d+)?\])?", split or "")
    if found is None:
        raise StageError(f"split={split!r}: the name of a split, rows, or both, as in test, [-32:] and train[:100]")
    name, rows, *ends = found.groups()
    first, last = (sys.maxsize if end == "-0" else None if end is None else int(end) for end in ends)
    return name, None if rows is None else slice(first, last)


def _name(source: Input) -> str:
    return str(source.path or source.hub)


def _listed(names: Any) -> str:
    return ", ".join(sorted(names))
