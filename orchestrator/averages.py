"""What averages of a study say beside pass@1: the gap of the paper's table 1, majority votes, lengths."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator import report, tables
from orchestrator.experiment import Experiment
from orchestrator.report import Numbers, Score, Scores
from orchestrator.solved import Solved
from orchestrator.tables import MISSING

#: Numbers of scores.json -> their columns. All are shares, except the last.
SHOWN = {
    "gap": "pass@K - pass@1",
    "majority": "majority",
    "unparsed": "unparsed",
    "truncated": "truncated",
    "mean_tokens": "tokens",
}

#: The columns of the result table that are averages, and what each is the average of.
NAMES = {"ID avg": "ID", "OOD avg": "OOD", "avg": "both"}

#: A number -> its average; None where an evaluation is missing, or is of a time that did not have the number.
Row = Mapping[str, Score | None]


@dataclass(frozen=True)
class Averages:
    """Average (ID, OOD, overall) -> variant -> its numbers. Errors are propagated as those of independent scores."""

    rows: dict[str, dict[str, Row]]

    @property
    def head(self) -> list[str]:
        return ["average of", "variant", *SHOWN.values()]

    def cells(self) -> list[list[str]]:
        """The table as text, without the head: shares in percent, lengths in tokens."""
        return [
            [NAMES[average], variant, *(_cell(name, row[name]) for name in SHOWN)]
            for average, found in self.rows.items()
            for variant, row in found.items()
        ]


def table(experiment: Experiment, scores: Scores, solved: Solved | None = None) -> Averages:
    """The averages of these scores, over the seeds of each name that is shown."""
    columns = report.columns_of(experiment)
    rows: dict[str, dict[str, Row]] = {}
    for column, members in columns.items():
        if not members:
            continue
        rows[column] = {}
        for shown, variants in experiment.replicas.items():
            if len(variants) > 1:
                rows[column][shown] = {
                    name: report.pooled(variants, name, _weights(columns, column, name, scores), scores, solved)
                    for name in SHOWN
                }
            elif column == "avg":
                parts = [rows[member][shown] for member in members]
                rows[column][shown] = {name: report.average(part[name] for part in parts) for name in SHOWN}
            else:
                rows[column][shown] = _averaged([scores.get((variants[0], member)) for member in members])
    return Averages(rows)


def _weights(columns: Mapping[str, list[str]], column: str, number: str, scores: Scores) -> dict[str, float]:
    """Benchmark -> its weight in an average; one sample has no gap: benchmarks with K = 1 are not in its average."""
    alone = {name for (_, name), found in scores.items() if number == "gap" and found.get("k") == 1}
    with_gap = {name: [each for each in members if each not in alone] for name, members in columns.items()}
    return report.weights(with_gap, column) if with_gap[column] else {}


def write(result: Averages, folder: Path) -> list[Path]:
    """Write `averages.md` (percent) and `averages.csv` (shares, with their standard errors)."""
    head = ["average", "variant", *(column for name in SHOWN for column in _columns(name))]
    rows = [
        {"average": average, "variant": variant, **_flat(row)}
        for average, found in result.rows.items()
        for variant, row in found.items()
    ]
    return [
        tables.write_markdown(folder / "averages.md", result.head, result.cells(), names=2),
        tables.write_csv(folder / "averages.csv", head, rows),
    ]


def _averaged(found: list[Numbers | None]) -> Row:
    """The averages over benchmarks. One sample has no gap: benchmarks with K = 1 are not in its average."""
    with_gap = [each for each in found if each is None or each.get("k") != 1]
    return {
        name: report.average(report.score(each, name) for each in (with_gap if name == "gap" else found))
        for name in SHOWN
    }


def _columns(name: str) -> list[str]:
    return [name, f"{name}_se"] if name in ("gap", "majority") else [name]


def _flat(row: Row) -> dict[str, float | None]:
    """The numbers and their errors by the names of `scores.json`."""
    known = {name: [score.mean, score.error] for name, score in row.items() if score is not None}
    return {column: value for name, pair in known.items() for column, value in zip(_columns(name), pair, strict=False)}


def _cell(name: str, score: Score | None) -> str:
    if score is None:
        return MISSING
    return f"{score.mean:.0f}{score.partly}" if name == "mean_tokens" else str(score)
