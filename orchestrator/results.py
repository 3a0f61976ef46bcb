"""The results of a study: its tables, where its models and diagnoses are, and the verb `report`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from launch.escape import inline
from orchestrator import (
    averages,
    claims,
    contamination,
    diagnoses,
    differences,
    estimate,
    learned,
    page,
    permission,
    report,
    tables,
    view,
)
from orchestrator.averages import Averages
from orchestrator.best import Best, Judge
from orchestrator.claims import Judged
from orchestrator.command import DONE, Command, Study
from orchestrator.contamination import Contamination
from orchestrator.diagnoses import Diagnoses
from orchestrator.differences import Differences
from orchestrator.graph import Node
from orchestrator.report import Score, Scores, Table
from orchestrator.solved import Solved
from orchestrator.tables import MISSING
from orchestrator.view import escape, escape_lines

#: Diagnoses side by side in one table.
ABREAST = 6

#: Nodes without which there is no verdict, that are named.
MISSED = 8

#: Columns of the terminal that a difference takes, beside those of the benchmarks' names.
DIFFERENCE, BENCHMARK = 32, 18


@dataclass(frozen=True)
class Results:
    """Every table of a study, as far as it is published; `errors` says what could not be read."""

    scores: Scores
    table: Table
    averages: Averages
    differences: Differences
    contamination: Contamination
    diagnoses: Diagnoses
    claims: list[Judged]
    judge: Judge
    best: Best
    errors: list[str] = field(default_factory=list)


def verb(study: Study, command: Command) -> int:
    """Show the results of what is published now, and write all of them as a document."""
    show(study, command.as_json, command.line, document=True)
    return DONE


def show(study: Study, as_json: bool, overrides: Sequence[str] = (), *, document: bool = False) -> Results:
    """Write the tables that the experiment has, and show them; without benchmarks, where the artifacts are.

    `overrides` are those of the command line. All of it is written as a `document` too, which takes some seconds, if
    that is wanted.
    """
    results = read(study)
    files = _write(results, study)
    made = None
    if document:
        from orchestrator.document.made import make

        made = make(study, results, overrides)
    if made is not None:
        files += made.files
    if as_json:
        written = None if made is None else made.as_json()
        print(json.dumps({**_as_json(results, study, files, overrides), "document": written}))
        return results
    out = view.console()
    _show_tables(results, study, out)
    for note in learned.notes(study.graph.nodes.values(), study.store):
        out.print(f"note: {escape(note)}", soft_wrap=True)
    _show_best(results.best, overrides, out)
    if files:
        folder = study.reports
        if study.experiment.reports is None and (why := permission.unwritable(study.store.root)) is not None:
            out.print(f"note: {escape(why)}; so its files are written here, or where reports=DIR says", soft_wrap=True)
        names = " ".join(escape(file.name) for file in files if file.parent == folder)
        out.print(f"written to {escape(str(folder))}: {names}", soft_wrap=True)
    if made is not None:
        out.print(escape(made.said()), soft_wrap=True)
    return results


def _show_tables(results: Results, study: Study, out: Console) -> None:
    """Whatever tables the experiment has, and what could not be read for them."""
    for error in results.errors:
        out.print(f"error: {escape(error)}", soft_wrap=True)
    if study.experiment.benchmarks:
        _show_scores(results, out)
    else:
        for name, place in {**_places(study), **_folders(study)}.items():
            print(inline(f"{name}: {place or 'not there yet'}"))
    if results.contamination.found:
        what = "share of the problems that occur in the data that is trained on; checked: long enough for an n-gram"
        _show("contamination", what, results.contamination, out)
    if results.diagnoses.found:
        what = "what diagnoses measured" + (" (± standard error over seeds)" if study.experiment.seeds else "")
        _show("diagnosis", what, results.diagnoses, out, abreast=ABREAST)
    if results.claims:
        _show_claims(results.claims, out)


def _show_scores(results: Results, out: Console) -> None:
    """What comes from the evaluations."""
    tables.show(results.table.head, results.table.cells(), out)
    several = any(each.seeds[1] > 1 for row in results.table.rows.values() for each in row if each)
    behind = ", over seeds and problems; (1/3): of one of three seeds so far" if several else ""
    out.print(f"pass@1 in percent ± standard error{behind}")
    if results.averages.rows:
        what = (
            "averages of the benchmarks (the gap: of those with K > 1) in percent; tokens: mean length of a completion"
        )
        _show("average", what, results.averages, out, names=2)
    if results.differences.found:
        what = (
            "pass@1 of a variant minus that of its reference, in points, paired by problem [95 % interval];\n"
            "higher, lower: the interval excludes 0" + (differences.ALONE if results.differences.alone else "")
        )
        _show("difference", what, results.differences, out, abreast=max(1, (out.width - BENCHMARK) // DIFFERENCE))
    for error in results.differences.errors:
        out.print(f"error: {escape(error)}", soft_wrap=True)


def _show_best(best: Best, overrides: Sequence[str], out: Console) -> None:
    """From which row RL should start, or why that is not known yet and what would tell; nothing if nothing is asked."""
    if best.state == "nothing":
        return
    out.print(escape(best.said()), soft_wrap=True)
    if command := best.command(overrides):
        out.print(f"  {escape(command)}", soft_wrap=True)


def _show_claims(judged: list[Judged], out: Console) -> None:
    """The verdicts, the rule in a line, what is missing for those that are open, and what the study has no rows for."""
    known = [each for each in judged if not each.lacks]
    if known:
        tables.show(claims.head(known), claims.cells(known), out, names=1)
        out.print(f"interval: {estimate.NAME}; a verdict needs all seeds, and two at least")
    if len(known) < len(judged):
        names = ", ".join(each.name for each in judged if each.lacks)
        out.print(f"claims not judged, as this study has not what they are about: {escape(names)}", soft_wrap=True)
        out.print("claims.csv and the report say for each what it lacks")
    missing = list(dict.fromkeys(each for claim in judged for each in claim.missing))
    if missing:
        more = f" and {len(missing) - MISSED} more" if len(missing) > MISSED else ""
        out.print(f"missing for verdicts: {escape(', '.join(missing[:MISSED]))}{more}", soft_wrap=True)
        out.print("the same command with run in place of report makes them")


def _show(
    name: str,
    what: str,
    table: Averages | Differences | Contamination | Diagnoses,
    out: Console,
    *,
    names: int = 1,
    abreast: int | None = None,
) -> None:
    """Print a table and what it is, or that there is nothing in it yet."""
    lines = table.cells()
    if all(cell == MISSING for line in lines for cell in line[names:]):
        out.print(f"no {name} is published yet")
        return
    tables.show(table.head, lines, out, names=names, abreast=abreast)
    out.print(escape_lines(what))


def read(study: Study) -> Results:
    """Every table, of what is published now."""
    errors: list[str] = []
    scores = report.scores_of(study.experiment, study.graph, study.store, errors)
    solved = Solved(study.graph, study.store)
    table = report.table(study.experiment, scores, solved)
    judge = Judge(study, table, scores, solved)
    return Results(
        scores=scores,
        table=table,
        averages=averages.table(study.experiment, scores, solved),
        differences=differences.table(study.experiment, study.graph, study.store),
        contamination=contamination.table(study.graph, study.store, errors),
        diagnoses=diagnoses.table(study.graph, study.store, study.experiment.seeded_diagnoses),
        claims=claims.judge(study),
        judge=judge,
        best=judge.best(),
        errors=errors,
    )


def _write(results: Results, study: Study) -> list[Path]:
    """Write the tables that this experiment has."""
    folder, experiment = study.reports, study.experiment
    wanted: list[tuple[Any, Callable[[], list[Path]]]] = [
        (experiment.benchmarks, lambda: report.write(results.table, experiment, results.scores, folder)),
        (results.averages.rows, lambda: averages.write(results.averages, folder)),
        (results.differences.columns, lambda: differences.write(results.differences, experiment, folder)),
        (results.contamination.found, lambda: contamination.write(results.contamination, folder)),
        (results.diagnoses.found, lambda: diagnoses.write(results.diagnoses, folder)),
        (results.claims, lambda: claims.write(results.claims, folder)),
    ]
    if any(found for found, _ in wanted):
        page.make_folder(folder)
    return [file for found, write in wanted if found for file in write()]


def _as_json(results: Results, study: Study, files: list[Path], overrides: Sequence[str]) -> dict[str, Any]:
    """Everything, for scripts."""
    folders = _folders(study)
    return {
        "variants": _places(study),
        "table": {
            name: dict(zip(results.table.columns, map(_score, scores), strict=True))
            for name, scores in results.table.rows.items()
        },
        "scores": [
            {"variant": variant, "benchmark": name, "group": study.experiment.benchmarks[name].group, **numbers}
            for (variant, name), numbers in results.scores.items()
        ],
        "averages": {
            average: {name: {key: _score(score) for key, score in row.items()} for name, row in rows.items()}
            for average, rows in results.averages.rows.items()
        },
        "differences": {
            name: {
                column: None if each is None else {"problems": each.problems, **differences.as_fields(each)}
                for column, each in zip(results.differences.columns, found, strict=True)
            }
            for name, found in results.differences.found.items()
        },
        "contamination": [
            {"benchmark": name, "data": kind, "numbers": summary}
            for (name, kind), summary in results.contamination.found.items()
        ],
        "diagnoses": {n: {"path": folders[n], "numbers": numbers} for n, numbers in results.diagnoses.found.items()},
        "claims": claims.as_json(results.claims),
        "answer": results.best.as_json(overrides),
        "notes": learned.notes(study.graph.nodes.values(), study.store),
        "errors": [*results.errors, *results.differences.errors],
        "files": [str(file) for file in files],
    }


def _score(score: Score | None) -> dict[str, float | None] | None:
    """A score for scripts; over several seeds, with its intervals."""
    if score is None:
        return None
    found = {"mean": score.mean, "se": score.error}
    if score.interval is None and score.seeds == (1, 1):
        return found
    ends = (*(score.interval or (None, None)), *(score.bootstrap or (None, None)), score.seeds[0])
    return found | dict(zip(("low", "high", "bootstrap_low", "bootstrap_high", "seeds"), ends, strict=True))


def _places(study: Study) -> dict[str, str | None]:
    """Variant -> the folder of the model at the end of its chain, if it is published."""
    return {name: _place(study, name) for name in study.experiment.variants}


def _folders(study: Study) -> dict[str, str | None]:
    """Diagnosis -> its folder, if it is published."""
    return {name: _folder(study, node) for name, node in study.graph.diagnoses.items()}


def _place(study: Study, variant: str) -> str | None:
    last = study.graph.variants[variant].get("checkpoint")
    if not isinstance(last, Node):
        return None if last is None else str(last.path or last.hub)
    folder = _folder(study, last)
    return None if folder is None else f"{folder}/model"


def _folder(study: Study, node: Node) -> str | None:
    folder = study.store.find(node.stage, node.fingerprint)
    return None if folder is None else str(folder)
