"""Reading what a study has published, for a document that must be made whatever is there.

Everything raises one exception, `Lacking`, whose message says which artifact is not there, or which file of it cannot
be read: a document turns it into a block that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import names, parquet
from orchestrator.command import Study
from orchestrator.graph import Node
from stages import jsonfile


class Lacking(Exception):
    """Something cannot be shown, and why.

    Attributes:
        nodes: those that would have to be run for it, if that helps.
        spoilt: folders of artifacts that have to be removed first, since what they hold cannot be used.
    """

    def __init__(self, why: str, nodes: Iterable[Node] = (), spoilt: Iterable[Path] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.nodes = list(nodes)
        self.spoilt = list(spoilt)


class Unmade(Lacking):
    """No row of the study makes it, published or not."""


def together(absent: Sequence[Lacking], why: str = "") -> Lacking:
    """What is lacking for several reasons, as one; `why` in place of all of these."""
    nodes = [node for each in absent for node in each.nodes]
    said = why or "; ".join(dict.fromkeys(each.why for each in absent))
    return Lacking(said, nodes, dict.fromkeys(folder for each in absent for folder in each.spoilt))


@dataclass(frozen=True)
class Artifacts:
    """The published artifacts of a study. Nodes are found by fingerprint: labels may clash, and nothing is mixed up."""

    study: Study
    _records: dict[str, dict[str, Any] | None] = field(default_factory=dict)

    def record(self, node: Node) -> dict[str, Any] | None:
        """The record of a node, None if it is not published."""
        if node.fingerprint not in self._records:
            self._records[node.fingerprint] = self.study.store.record(node.stage, node.fingerprint)
        return self._records[node.fingerprint]

    def has(self, node: Node) -> bool:
        return self.study.store.find(node.stage, node.fingerprint) is not None

    def summary(self, node: Node) -> Mapping[str, Any]:
        """The numbers that sum up a node.

        Raises:
            Lacking: it is not published.
        """
        record = self.record(node)
        if record is None:
            raise Lacking(f"{names.full(node)} is not published", [node])
        found: Mapping[str, Any] = record["summary"]
        return found

    def json(self, node: Node, name: str) -> Any:
        """A JSON file of an artifact.

        Raises:
            Lacking: it is not there, or cannot be read.
        """
        return self._read(node, name, jsonfile.read)

    def lines(self, node: Node, name: str) -> list[dict[str, Any]]:
        """The rows of a file of JSON lines.

        Raises:
            Lacking: it is not there, cannot be read, or has no row.
        """
        found: list[dict[str, Any]] = self._read(
            node, name, lambda file: [jsonfile.parse(line) for line in jsonfile.text(file).splitlines()]
        )
        if not found or not all(isinstance(row, dict) for row in found):
            raise self.spoilt(node, f"{names.full(node)}: {name} has no rows")
        return found

    def columns(self, node: Node, name: str, columns: Sequence[str]) -> dict[str, Any]:
        """Columns of a parquet file, as lists.

        Raises:
            Lacking: it is not there, cannot be read, lacks a column, or has no row.
        """
        wanted: dict[str, parquet.Type] = dict.fromkeys(columns, "any")
        found: dict[str, Any] = self._read(node, name, lambda file: parquet.read(file, wanted, columns))
        absent = [column for column in columns if column not in found]
        if absent:
            raise self.spoilt(node, f"{names.full(node)}: {name} has no column {absent[0]}; it is of another version")
        if not found[columns[0]]:
            raise self.spoilt(node, f"{names.full(node)}: {name} has no rows")
        return found

    def spoilt(self, node: Node, why: str) -> Lacking:
        """What to raise where the artifact of a node is there and cannot be used."""
        folder = self.study.store.find(node.stage, node.fingerprint)
        return Lacking(why, [node], [] if folder is None else [folder])

    def _read(self, node: Node, name: str, read: Callable[[Path], Any]) -> Any:
        folder = self.study.store.find(node.stage, node.fingerprint)
        if folder is None:
            raise Lacking(f"{names.full(node)} is not published", [node])
        if not (folder / name).is_file():
            raise self.spoilt(node, f"{names.full(node)} has no {name}")
        try:
            return read(folder / name)
        except (OSError, ValueError, KeyError) as error:
            lines = str(error).splitlines() or [type(error).__name__]
            raise self.spoilt(node, f"{folder.name}/{name} cannot be read: {lines[0]}") from None
