"""The table of diagnoses: the numbers that sum up each, from the records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from orchestrator import tables
from orchestrator.experiment import Seeded
from orchestrator.graph import Graph
from orchestrator.tables import MISSING
from stages.store import Store

Number = int | float | str | None


@dataclass(frozen=True)
class Diagnoses:
    """Name -> what its record sums up, number by number; None for a diagnosis that is not published.

    `replicas`: name that is shown -> those that it is the mean of, one for each seed; without, each is shown alone.
    """

    found: dict[str, dict[str, Number] | None]
    replicas: Mapping[str, list[str]] | None = None

    @property
    def shown(self) -> Mapping[str, list[str]]:
        """Name that is shown -> those that it is the mean of."""
        return {name: [name] for name in self.found} if self.replicas is None else self.replicas

    @property
    def head(self) -> list[str]:
        return ["number", *self.shown]

    @property
    def numbers(self) -> list[str]:
        """Every number that some diagnosis has, in the order of the first that has it."""
        return list(dict.fromkeys(name for summary in self.found.values() for name in summary or {}))

    def cells(self) -> list[list[str]]:
        """The table as text, without the head: a line for each number, with a column for each diagnosis."""
        summaries = [[self.found[name] for name in names] for names in self.shown.values()]
        return [[number, *(_shown(each, number) for each in summaries)] for number in self.numbers]


def table(graph: Graph, store: Store, seeded: Seeded | None = None) -> Diagnoses:
    """The table of whatever is published now. `seeded` are an experiment's; without, each diagnosis is shown alone."""
    replicas = None if seeded is None else {name: list(dict.fromkeys(of.values())) for name, of in seeded.items()}
    records = {name: store.record(node.stage, node.fingerprint) for name, node in graph.diagnoses.items()}
    found = {name: None if record is None else record["summary"] for name, record in records.items()}
    return Diagnoses(found, replicas)


def write(result: Diagnoses, folder: Path) -> list[Path]:
    """Write `diagnoses.md` (a line for each number) and `diagnoses.csv` (a row for each diagnosis)."""
    rows = [{"diagnosis": name, **(summary or {})} for name, summary in result.found.items()]
    return [
        tables.write_markdown(folder / "diagnoses.md", result.head, result.cells()),
        tables.write_csv(folder / "diagnoses.csv", ["diagnosis", *result.numbers], rows),
    ]


def _shown(summaries: Sequence[dict[str, Number] | None], number: str) -> str:
    """Four digits of a number, over seeds with its standard error; MISSING if nothing is published."""
    values = [summary[number] for summary in summaries if summary and summary.get(number) is not None]
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if not values:
        return MISSING
    if len(summaries) == 1 or len(numbers) < len(values):
        return f"{values[0]:.4g}" if isinstance(values[0], float) else str(values[0])
    error = f" ±{stdev(numbers) / len(numbers) ** 0.5:.1g}" if len(numbers) > 1 else ""
    partly = f" ({len(numbers)}/{len(summaries)})" if len(numbers) < len(summaries) else ""
    return f"{fmean(numbers):.4g}{error}{partly}"
