"""The table of diagnoses: the numbers that sum up each, from the records alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator import tables
from orchestrator.graph import Graph
from orchestrator.tables import MISSING
from stages.store import Store

Number = int | float | str | None


@dataclass(frozen=True)
class Diagnoses:
    """Name -> what its record sums up, number by number; None for a diagnosis that is not published."""

    found: dict[str, dict[str, Number] | None]

    @property
    def head(self) -> list[str]:
        return ["number", *self.found]

    @property
    def numbers(self) -> list[str]:
        """Every number that some diagnosis has, in the order of the first that has it."""
        return list(dict.fromkeys(name for summary in self.found.values() for name in summary or {}))

    def cells(self) -> list[list[str]]:
        """The table as text, without the head: a line for each number, with a column for each diagnosis."""
        return [[number, *(_shown(summary, number) for summary in self.found.values())] for number in self.numbers]


def table(graph: Graph, store: Store) -> Diagnoses:
    """The table of whatever is published now."""
    records = {name: store.record(node.stage, node.fingerprint) for name, node in graph.diagnoses.items()}
    return Diagnoses({name: None if record is None else record["summary"] for name, record in records.items()})


def write(result: Diagnoses, folder: Path) -> list[Path]:
    """Write `diagnoses.md` (a line for each number) and `diagnoses.csv` (a row for each diagnosis)."""
    rows = [{"diagnosis": name, **(summary or {})} for name, summary in result.found.items()]
    return [
        tables.write_markdown(folder / "diagnoses.md", result.head, result.cells()),
        tables.write_csv(folder / "diagnoses.csv", ["diagnosis", *result.numbers], rows),
    ]


def _shown(summary: dict[str, Number] | None, number: str) -> str:
    """Four digits of a number; MISSING if the diagnosis has none, or is not published."""
    value = None if summary is None else summary.get(number)
    if value is None:
        return MISSING
    return f"{value:.4g}" if isinstance(value, float) else str(value)
