"""How much of each benchmark occurs in the data that is trained on, from the artifacts of the stage `contamination`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator import readable, tables
from orchestrator.graph import Graph
from orchestrator.tables import MISSING
from stages.store import Store

#: What a summary.json of the stage says.
Summary = Mapping[str, int | float]

#: Its numbers that the table has.
SHOWN = ("share", "contaminated", "problems", "checked")


@dataclass(frozen=True)
class Contamination:
    """(benchmark, kind of data) -> what was found; None if it is not published."""

    found: dict[tuple[str, str], Summary | None]

    @property
    def head(self) -> list[str]:
        return ["benchmark", *dict.fromkeys(kind for _, kind in self.found)]

    def cells(self) -> list[list[str]]:
        """The table as text, without the head: a line for each benchmark, a column for each kind of data."""
        names = dict.fromkeys(name for name, _ in self.found)
        return [[name, *(_cell(self.found.get((name, kind))) for kind in self.head[1:])] for name in names]


def table(graph: Graph, store: Store, errors: list[str] | None = None) -> Contamination:
    """The table of whatever is published now; what cannot be read is added to `errors`."""
    folders = {pair: store.find(node.stage, node.fingerprint) for pair, node in graph.contamination.items()}
    found: dict[tuple[str, str], Summary | None] = dict.fromkeys(folders)
    for pair, folder in folders.items():
        try:
            found[pair] = None if folder is None else _read(folder)
        except readable.Unreadable as error:
            if errors is not None:
                errors.append(str(error))
    return Contamination(found)


def write(result: Contamination, folder: Path) -> list[Path]:
    """Write `contamination.md` (percent) and `contamination.csv` (every number of each summary)."""
    names = list(dict.fromkeys(name for summary in result.found.values() for name in summary or {}))
    rows = [{"benchmark": name, "data": kind, **summary} for (name, kind), summary in result.found.items() if summary]
    return [
        tables.write_markdown(folder / "contamination.md", result.head, result.cells()),
        tables.write_csv(folder / "contamination.csv", ["benchmark", "data", *names], rows),
    ]


def _read(folder: Path) -> Summary:
    found: Summary = readable.read(folder, "summary.json")
    for name in SHOWN:
        if not isinstance(found.get(name), int | float):
            raise readable.Unreadable(folder, "summary.json", f"it has no number {name}")
    return found


def _cell(summary: Summary | None) -> str:
    """`2.4 % (12 of 500, 498 checked)`: all problems, and those that are long enough to be looked for."""
    if summary is None:
        return MISSING
    share, found, problems = 100 * summary["share"], summary["contaminated"], summary["problems"]
    return f"{share:.1f} % ({found} of {problems}, {summary['checked']} checked)"
