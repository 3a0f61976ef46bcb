"""What W&B is told of a whole study: one run with its tables, and one for each variant, so that panels can plot them.

All of it is made of the artifacts that are published now; told again, a run is told anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from launch.escape import inline
from launch.tracking import Recorder
from orchestrator import averages, differences, report
from orchestrator.command import Study
from orchestrator.graph import Node
from orchestrator.report import Score
from orchestrator.results import Results
from stages.tracking import names

#: Seconds until the process that talks to W&B has to have said what became of a run.
PATIENCE = 120.0

#: What a table has, for W&B: the names of its columns, and its rows.
Table = tuple[list[str], list[list[Any]]]


def after_run(study: Study, found: Results) -> None:
    """Tell W&B what a study has come to, at the end of `run`; what is in the way of that is said and no more."""
    if study.experiment.tracked is None or not study.experiment.benchmarks:
        return
    try:
        message = of_study(study, found)
    except OSError as error:  # the store is full: the results were shown all the same
        say(f"W&B: the study's run is not recorded: {error}")
        return
    recorder = Recorder(study.store.root)
    recorder.ask(PATIENCE, **message)
    recorder.close(PATIENCE)


def of_study(study: Study, found: Results) -> dict[str, Any]:
    """The message that makes the summary run of a study: its tables, and a number for each of their cells."""
    experiment, store = study.experiment, study.store
    table = found.table
    done = [record for node in study.graph.nodes.values() if (record := store.record(node.stage, node.fingerprint))]
    numbers = {
        f"{row}/{column}": cell.mean
        for row, cells in table.rows.items()
        for column, cell in zip(table.columns, cells, strict=True)
        if cell is not None
    }
    tables: dict[str, Table] = {"results": _results(table)}
    if found.averages.rows:
        tables["averages"] = _averages(found.averages)
    if found.differences.found:
        tables["differences"] = _differences(found.differences)
    return _message(
        study,
        id=names.of_study(store.root, experiment.name),
        name=experiment.name,
        job_type="study",
        config={"experiment": experiment.name, "variants": list(experiment.variants)},
        summary={
            **numbers,
            "nodes": len(study.graph.nodes),
            "nodes_done": len(done),
            "seconds": sum(record.get("seconds", 0.0) for record in done),
        },
        tables=tables,
    )


def of_variants(study: Study) -> Iterator[dict[str, Any]]:
    """The message for each variant that has a score: the config of all its stages, and its row of the table."""
    experiment = study.experiment
    scores = report.scores_of(experiment, study.graph, study.store)
    columns = report.columns_of(experiment)
    for variant in experiment.variants:
        row: dict[str, Score | None] = {}
        for column, members in columns.items():
            if members:
                row[column] = report.average(row[member] for member in members)
            else:
                row[column] = report.score(scores.get((variant, column)), "pass@1")
        known = {column: cell for column, cell in row.items() if cell is not None}
        if known:
            yield _message(
                study,
                id=names.of_study(study.store.root, experiment.name, variant),
                name=variant,
                job_type="variant",
                config={**_stages(study, variant), "experiment": experiment.name, "label": variant},
                summary={
                    **{f"result/{column}": cell.mean for column, cell in known.items()},
                    **{f"result/{column} se": cell.error for column, cell in known.items() if cell.error is not None},
                },
                tables={},
            )


def _message(study: Study, *, summary: dict[str, Any], tables: dict[str, Table], **run: Any) -> dict[str, Any]:
    id = run.pop("id")
    return {
        "do": "study",
        "store": str(study.store.root),
        "tracking": study.experiment.tracked,
        "id": id,
        "run": run,
        "summary": summary,
        "tables": tables,
    }


def _results(table: report.Table) -> Table:
    """The result table with standard errors, as shares; what is not there is null."""
    head = ["variant", *(name for column in table.columns for name in (column, f"{column} se"))]
    rows = [
        [name, *(value for cell in cells for value in ((None, None) if cell is None else (cell.mean, cell.error)))]
        for name, cells in table.rows.items()
    ]
    return head, rows


def _averages(found: averages.Averages) -> Table:
    head = ["average", "variant", *averages.SHOWN]
    rows = [
        [average, variant, *(None if (cell := row[name]) is None else cell.mean for name in averages.SHOWN)]
        for average, variants in found.rows.items()
        for variant, row in variants.items()
    ]
    return head, rows


def _differences(found: differences.Differences) -> Table:
    rows = [
        [name, column, each.problems, *differences.as_fields(each).values()]
        for name, cells in found.found.items()
        for column, each in zip(found.columns, cells, strict=True)
        if each is not None
    ]
    return ["difference", "benchmark", "problems", *differences.FIELDS], rows


def _stages(study: Study, variant: str) -> dict[str, Any]:
    """Stage -> config of everything on the way to a variant's checkpoint, the nearest of a stage first."""
    found: dict[str, Any] = {}
    level = [given for given in study.graph.variants.get(variant, {}).values() if isinstance(given, Node)]
    seen: set[str] = set()
    while level:
        for node in level:
            found.setdefault(node.stage, node.config)
            seen.add(node.fingerprint)
        level = [need for node in level for need in node.needs() if need.fingerprint not in seen]
    return found


def say(text: str) -> None:
    """One line for whoever waits."""
    print(inline(text), file=sys.stderr, flush=True)
