"""The result table: variants by benchmarks, with the ID, OOD and overall averages, from the artifacts alone."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.experiment import Experiment
from orchestrator.graph import Graph
from stages.store import Store

#: Shown where an evaluation is missing.
MISSING = "-"


@dataclass(frozen=True)
class Score:
    """A pass@1 and its standard error, both as shares (0 to 1)."""

    mean: float
    error: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.1f} ±{100 * self.error:.1f}"


def average(scores: Iterable[Score | None]) -> Score | None:
    """The unweighted mean of independent scores, with the propagated standard error; None if one is missing."""
    known = list(scores)
    present = [score for score in known if score is not None]
    if not known or len(present) < len(known):
        return None
    error = math.sqrt(sum(score.error**2 for score in present)) / len(present)
    return Score(sum(score.mean for score in present) / len(present), error)


@dataclass(frozen=True)
class Table:
    """Rows are variants; the columns are benchmarks (ID first), each group's average after it, the overall one last.

    The overall average is (ID + OOD) / 2, as in the paper's table 2; benchmarks of the groups `extra` and `validation`
    are in none.
    """

    columns: list[str]
    rows: dict[str, list[Score | None]]

    def cells(self) -> list[list[str]]:
        """The table as text, without the head: in percent, the standard error behind ±."""
        return [[name, *(MISSING if s is None else str(s) for s in scores)] for name, scores in self.rows.items()]


def table(experiment: Experiment, graph: Graph, store: Store) -> Table:
    """The table of whatever is published now."""
    columns, rows = columns_of(experiment), {}
    for variant in experiment.variants:
        found = {name: score(graph, store, variant, name) for name in experiment.benchmarks}
        for column, members in columns.items():
            found[column] = average(found[name] for name in members) if members else found[column]
        rows[variant] = [found[column] for column in columns]
    return Table(list(columns), rows)


def objective(experiment: Experiment, graph: Graph, store: Store) -> float | None:
    """What a search maximises: a pass@1; None if it is not published."""
    if experiment.objective is None:
        return None
    found = score(graph, store, experiment.objective.variant, experiment.objective.benchmark)
    return None if found is None else found.mean


def columns_of(experiment: Experiment) -> dict[str, list[str]]:
    """Columns in order, each with the columns that it is the average of (none for a benchmark)."""
    groups: dict[str, list[str]] = {"ID": [], "OOD": [], "extra": [], "validation": []}
    for name, benchmark in experiment.benchmarks.items():
        groups[benchmark.group].append(name)
    columns: dict[str, list[str]] = {}
    for group, names in groups.items():
        columns |= {name: [] for name in names}
        if names and group in ("ID", "OOD"):
            columns[f"{group} avg"] = names
    averages = [column for column, members in columns.items() if members]
    return columns | ({"avg": averages} if len(averages) == 2 else {})


def write(result: Table, folder: Path) -> list[Path]:
    """Write `table.md` (percent) and `table.csv` (shares, standard errors in columns of their own)."""
    folder.mkdir(parents=True, exist_ok=True)
    markdown, comma_separated = folder / "table.md", folder / "table.csv"
    head = ["variant", *result.columns]
    lines = [head, ["---", *["---:"] * len(result.columns)], *result.cells()]
    markdown.write_text("".join(f"| {' | '.join(line)} |\n" for line in lines), encoding="utf-8")
    with comma_separated.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["variant", *(name for column in result.columns for name in (column, f"{column} se"))])
        for variant, scores in result.rows.items():
            numbers = [("", "") if score is None else (score.mean, score.error) for score in scores]
            writer.writerow([variant, *(number for pair in numbers for number in pair)])
    return [markdown, comma_separated]


def score(graph: Graph, store: Store, variant: str, benchmark: str) -> Score | None:
    """The score of a variant on a benchmark; None if it is not published, or not part of the study."""
    node = graph.scores.get((variant, benchmark))
    folder = None if node is None else store.find(node.stage, node.fingerprint)
    if folder is None:
        return None
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    return Score(scores["pass@1"], scores["pass@1_se"])
