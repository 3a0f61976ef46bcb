"""Executed: the keys of a config that decide which code a job runs. All others are data; see docs/explain/trust.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch import credentials, options
from orchestrator import yaml_file
from orchestrator.values import shown

#: Option of sbatch -> what it does to a job; options of a plugin for containers begin alike.
_WHY = {
    "export": "sets variables of the job, and some of them decide which code it runs",
    "container": "runs the job in a container, with the code that is there",
}


@dataclass(frozen=True)
class Key:
    """A key that is set: where it stands, the option of sbatch that it is, and its value."""

    place: str
    option: str
    value: object

    def said(self, by: str) -> str:
        """The line about it; `by` is the file that sets it."""
        why = next(text for name, text in _WHY.items() if self.option.startswith(name))
        return f"{self.place}={credentials.masked(shown(self.value))}: {why}; set by {by}"


def keys(config: Mapping[str, Any]) -> Iterator[Key]:
    """The keys of a composed config that are set, each where it stands first."""
    cluster = config.get("cluster")
    if not isinstance(cluster, dict) or cluster.get("launcher") != "slurm":
        return
    seen: set[tuple[str, str]] = set()
    groups = {f"cluster.{group}": cluster.get(group) for group in ("classes", "stages")}
    places: dict[str, Any] = {"cluster.default": cluster.get("default")}
    for key, group in groups.items():
        places |= {f"{key}.{name}": each for name, each in group.items()} if isinstance(group, dict) else {}
    for place, needs in places.items():
        said = needs.get("sbatch") if isinstance(needs, dict) else None
        for name, value in said.items() if isinstance(said, dict) else ():
            option = options.named(str(name))
            if _runs(option, value) and (option, str(value)) not in seen:
                seen.add((option, str(value)))
                yield Key(f"{place}.sbatch.{name}", option, value)


def notes(found: Iterable[Key], files: Iterable[Path], arguments: Iterable[str]) -> list[str]:
    """A line for each key: `files` are those that the config is composed from, `arguments` the command line."""
    files, typed = list(files), " ".join(arguments)
    lines = []
    for key in found:
        name = key.place.rpartition(".")[2]
        by = ["the command line"] if f"sbatch.{name}" in typed or f"{name}:" in typed else []
        by += [str(file) for file in files if yaml_file.says(file, ("sbatch", name))]
        lines.append(key.said(" and ".join(by) or "the config"))
    return lines


def _runs(option: str, value: object) -> bool:
    """Whether an option decides what a job runs: `export` does with variables of its own, not as sbatch's default."""
    if option == "export":
        return isinstance(value, str) and value.strip(",") not in ("ALL", "")
    return option.startswith("container") and value is not False
