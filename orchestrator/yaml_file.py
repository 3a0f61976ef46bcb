"""YAML files of a config: what is wrong with one that Hydra would stumble over, named by file and line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from orchestrator.yaml_loader import PlainLoader


def roots(search_path: Iterable[object]) -> list[Path]:
    """The folders where configs are looked for: the project's own, and those of a search path that are folders."""
    given = [Path(str(each).removeprefix("file://")) for each in search_path if not str(each).startswith("pkg://")]
    return [Path(str(resources.files("conf"))), *given]


def chosen(folders: Iterable[Path], group: str, options: Iterable[str]) -> Iterator[Path]:
    """The files of these options of a group, as far as they are there."""
    names = {f"{option.removesuffix('.yaml')}.yaml" for option in options}
    for folder in folders:
        try:
            there = {entry.name for entry in os.scandir(folder / group)}
        except OSError:  # no group of this search path
            continue
        yield from (folder / group / name for name in sorted(names & there))


def options(folders: Iterable[Path], group: str) -> list[str]:
    """The options of a group, in all of these folders."""
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})


def defect(file: Path) -> str | None:
    """What is wrong with a config file; None if nothing is."""
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        return f"{file}: cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return f"{file}, line {line}: no UTF-8 text (byte {error.object[error.start]:#04x}); save it as UTF-8"
    if text.startswith("\ufeff"):
        return (
            f"{file}, line 1: begins with a byte order mark, which hides its first line; save it as UTF-8 without one"
        )
    try:
        root = yaml.compose(text, Loader=PlainLoader)
        if root is None:  # as an option of a group that adds nothing is
            return None
        if not isinstance(root, yaml.MappingNode):
            return f"{file}, line {root.start_mark.line + 1}: a {root.id}; a config is a mapping of keys to values"
        yaml.load(text, Loader=PlainLoader)
    except yaml.YAMLError as error:
        return said(error, file)
    except RecursionError:
        return f"{file}: an anchor that contains itself, or values that are nested too deeply"
    return None


def says(file: Path, names: tuple[str, ...]) -> bool:
    """Whether a config file has these keys anywhere, one below the other; a file that cannot be read has none."""
    try:
        found = yaml.load(file.read_bytes(), Loader=PlainLoader)
    except (OSError, yaml.YAMLError, RecursionError, UnicodeDecodeError):
        return False
    return _has(found, names)


def _has(plain: Any, names: tuple[str, ...]) -> bool:
    if not names:
        return True
    if isinstance(plain, list):
        return any(_has(each, names) for each in plain)
    if not isinstance(plain, dict):
        return False
    below = names[0] in plain and _has(plain[names[0]], names[1:])
    return below or any(_has(each, names) for each in plain.values())


def said(error: yaml.YAMLError, file: Path | None = None) -> str:
    """What a YAML parser says, in one line that begins with the file and the line; `file`: if it does not know it."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:  # of a character that YAML does not have
        place, problem = file or str(getattr(error, "name", "")), " ".join(str(error).split(" in ")[0].split())
        at = getattr(error, "position", None)
        return f"{place}{'' if at is None else f', character {at + 1}'}: {problem}"
    problem = " ".join(str(getattr(error, "problem", error)).split())
    if "\\t" in problem:
        problem = "a tab; YAML is indented by spaces"
    context = getattr(error, "context", None)
    return f"{file or mark.name}, line {mark.line + 1}: {problem}{f' ({context})' if context else ''}"
