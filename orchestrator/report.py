"""The result table: variants by benchmarks, with the ID, OOD and overall averages, from the artifacts alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator import estimate, readable, tables
from orchestrator.experiment import Experiment
from orchestrator.graph import Graph
from orchestrator.solved import NUMBERS, Solved
from orchestrator.tables import MISSING
from stages.store import Store

#: What an evaluation's scores.json says, by the names of `stages.evaluation.statistics.scores`.
Numbers = Mapping[str, float]

#: Columns of `table.csv` that a score over several seeds has beside its error.
BEHIND = (" low", " high", " bootstrap low", " bootstrap high", " seeds")

#: (variant, benchmark) -> its numbers, for what is published.
Scores = Mapping[tuple[str, str], Numbers]


@dataclass(frozen=True)
class Score:
    """A mean and its standard error, if it has one; a pass@1 or another share is from 0 to 1.

    Attributes:
        seeds: how many seeds it is the mean of, and how many there are to be.
        interval, bootstrap: those of `orchestrator.estimate`, where it is over several seeds.
    """

    mean: float
    error: float | None = None
    seeds: tuple[int, int] = (1, 1)
    interval: tuple[float, float] | None = None
    bootstrap: tuple[float, float] | None = None

    def __str__(self) -> str:
        """In percent; with the number of seeds, where some are missing."""
        behind = "" if self.error is None else f" ±{100 * self.error:.1f}"
        return f"{100 * self.mean:.1f}{behind}{self.partly}"

    @property
    def partly(self) -> str:
        """` (2/3)`: of two of three seeds; empty if all are there."""
        there, wanted = self.seeds
        return "" if there == wanted else f" ({there}/{wanted})"


def average(scores: Iterable[Score | None]) -> Score | None:
    """The unweighted mean of independent scores, with the propagated standard error; None if one is missing."""
    known = list(scores)
    present = [score for score in known if score is not None]
    if not known or len(present) < len(known):
        return None
    errors = [score.error for score in present if score.error is not None]
    propagated = math.hypot(*errors) / len(present) if len(errors) == len(present) else None
    return Score(sum(score.mean for score in present) / len(present), propagated)


@dataclass(frozen=True)
class Table:
    """Rows are variants; the columns are benchmarks (ID first), each group's average after it, the overall one last.

    The overall average is (ID + OOD) / 2, as in the paper's table 2; benchmarks of the groups `extra` and `validation`
    are in none.
    """

    columns: list[str]
    rows: dict[str, list[Score | None]]

    @property
    def head(self) -> list[str]:
        return ["variant", *self.columns]

    def cells(self) -> list[list[str]]:
        """The table as text, without the head: in percent, the standard error behind ±."""
        return [[name, *(MISSING if s is None else str(s) for s in scores)] for name, scores in self.rows.items()]


def scores_of(experiment: Experiment, graph: Graph, store: Store, errors: list[str] | None = None) -> Scores:
    """The numbers of whatever is published now, variant by variant; what cannot be read is added to `errors`."""
    cells = [(variant, name) for variant in experiment.variants for name in experiment.benchmarks]
    found = {cell: numbers(graph, store, *cell, errors=errors) for cell in cells}
    return {cell: each for cell, each in found.items() if each is not None}


def table(experiment: Experiment, scores: Scores, solved: Solved | None = None) -> Table:
    """The table of these scores: a row for each name that is shown, the mean over its seeds.

    Without `solved`, or where it does not have the problems, intervals over seeds know of no other chance.
    """
    columns, rows = columns_of(experiment), {}
    for shown, variants in experiment.replicas.items():
        if len(variants) > 1:
            every = {column: weights(columns, column) for column in columns}
            rows[shown] = [pooled(variants, "pass@1", every[column], scores, solved) for column in columns]
            continue
        found = {name: score(scores.get((variants[0], name)), "pass@1") for name in experiment.benchmarks}
        for column, members in columns.items():
            found[column] = average(found[name] for name in members) if members else found[column]
        rows[shown] = [found[column] for column in columns]
    return Table(list(columns), rows)


def pooled(
    variants: Sequence[str], number: str, of: Mapping[str, float], scores: Scores, solved: Solved | None
) -> Score | None:
    """The mean over seeds of a sum over benchmarks, of those seeds that have all of them; None if none has.

    `of`: benchmark -> weight. A number that is no mean over problems has no error.
    """
    there = [each for each in variants if all(number in scores.get((each, name), {}) for name in of)]
    if not there or not of:
        return None
    found = estimate.over_seeds(
        [sum(weight * scores[each, name][number] for name, weight in of.items()) for each in there]
    )
    if number in NUMBERS and solved is not None:
        try:
            parts = [(weight, [solved.shares(each, name, number) for each in there]) for name, weight in of.items()]
            known = [(weight, [each for each in shares if each is not None]) for weight, shares in parts]
            found = replace(estimate.crossed(known), mean=found.mean)
        except estimate.Unpaired:
            pass  # the seeds alone then
    error = found.error if number in NUMBERS else None
    interval = found.interval if number in NUMBERS else None
    return Score(found.mean, error, (len(there), len(variants)), interval, found.bootstrap)


def weights(columns: Mapping[str, list[str]], column: str) -> dict[str, float]:
    """Benchmark -> its weight in a column: the benchmark itself has 1, those of an average share it."""
    members = columns[column]
    if not members:
        return {column: 1.0}
    parts = [weights(columns, member) for member in members]
    return {name: weight / len(parts) for part in parts for name, weight in part.items()}


def objective(experiment: Experiment, graph: Graph, store: Store) -> float | None:
    """What a search maximises: a pass@1; None if it is not published."""
    if experiment.objective is None:
        return None
    found = numbers(graph, store, experiment.objective.variant, experiment.objective.benchmark)
    return None if found is None else found["pass@1"]


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


def write(result: Table, experiment: Experiment, scores: Scores, folder: Path) -> list[Path]:
    """Write `table.md` (percent), `table.csv` (shares, with their errors) and `scores.csv` (all numbers of each)."""
    several = any(each.interval for row in result.rows.values() for each in row if each)
    wide = [{"variant": variant, **_wide(result.columns, found)} for variant, found in result.rows.items()]
    longest_first = sorted(scores.values(), key=len, reverse=True)  # so that pass@2 to pass@32 are in their order
    names = list(dict.fromkeys(name for each in longest_first for name in each))
    long: list[dict[str, tables.Value]] = [
        {"variant": variant, "benchmark": name, "group": experiment.benchmarks[name].group, **each}
        for (variant, name), each in scores.items()
    ]
    ends = ("", " se", *(BEHIND if several else ()))
    both = [f"{column}{end}" for column in result.columns for end in ends]
    return [
        tables.write_markdown(folder / "table.md", result.head, result.cells()),
        tables.write_csv(folder / "table.csv", ["variant", *both], wide),
        tables.write_csv(folder / "scores.csv", ["variant", "benchmark", "group", *names], long),
    ]


def _wide(columns: list[str], scores: list[Score | None]) -> dict[str, float | None]:
    """The fields of a row of `table.csv`."""
    fields: dict[str, float | None] = {}
    for column, found in zip(columns, scores, strict=True):
        if found is not None:
            fields |= {column: found.mean, f"{column} se": found.error}
            if found.interval is not None:
                ends = (*found.interval, *(found.bootstrap or (None, None)), found.seeds[0])
                fields |= {f"{column}{end}": value for end, value in zip(BEHIND, ends, strict=True)}
    return fields


def numbers(
    graph: Graph, store: Store, variant: str, benchmark: str, *, errors: list[str] | None = None
) -> Numbers | None:
    """The numbers of a variant on a benchmark; None if they are not published, or not part of the study.

    None too if they cannot be read, which is added to `errors`. What is not finite is no number.
    """
    node = graph.scores.get((variant, benchmark))
    folder = None if node is None else store.find(node.stage, node.fingerprint)
    if folder is None:
        return None
    try:
        found = readable.read(folder, "scores.json")
    except readable.Unreadable as error:
        if errors is not None and str(error) not in errors:
            errors.append(str(error))
        return None
    return {name: value for name, value in found.items() if isinstance(value, int | float) and math.isfinite(value)}


def score(found: Numbers | None, name: str) -> Score | None:
    """One number with its standard error, if it has one; None where it is not known."""
    return None if found is None or name not in found else Score(found[name], found.get(f"{name}_se"))
