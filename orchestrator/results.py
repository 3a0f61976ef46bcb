"""The results of a study: its tables, where its models and diagnoses are, and the verb `report`."""

from __future__ import annotations

import json

from rich.markup import escape

from orchestrator import diagnoses, report, view
from orchestrator.command import DONE, Command, Study
from orchestrator.graph import Node


def verb(study: Study, command: Command) -> int:
    """Show the results of what is published now."""
    show(study, command.as_json)
    return DONE


def show(study: Study, as_json: bool) -> None:
    """The result table if the experiment has benchmarks, else where the artifacts are; and the table of diagnoses."""
    places = {name: _place(study, name) for name in study.experiment.variants}
    folders = {name: _folder(study, node) for name, node in study.graph.diagnoses.items()}
    result = report.table(study.experiment, study.graph, study.store)
    compared = diagnoses.table(study.graph, study.store)
    reports = study.store.reports(study.experiment.name)
    written = report.write(result, reports) if study.experiment.benchmarks else []
    beside = diagnoses.write(compared, reports) if compared.found else []
    if as_json:
        rows = {
            name: {
                column: None if score is None else {"mean": score.mean, "se": score.error}
                for column, score in zip(result.columns, scores, strict=True)
            }
            for name, scores in result.rows.items()
        }
        files = [str(file) for file in [*written, *beside]]
        shown = {name: {"path": folders[name], "numbers": numbers} for name, numbers in compared.found.items()}
        print(json.dumps({"variants": places, "table": rows, "diagnoses": shown, "files": files}))
        return
    out = view.console()
    if study.experiment.benchmarks:
        view.show_table(result, out)
        out.print(f"pass@1 in percent ± standard error; written to {escape(' and '.join(map(str, written)))}")
    else:
        for name, place in [*places.items(), *folders.items()]:
            print(f"{name}: {place or 'not there yet'}")
    if compared.found:
        view.show_diagnoses(compared, out)
        out.print(f"what diagnoses measured; written to {escape(' and '.join(map(str, beside)))}")


def _place(study: Study, variant: str) -> str | None:
    """The folder of the model at the end of a variant's chain, if it is published."""
    last = study.graph.variants[variant].get("checkpoint")
    if not isinstance(last, Node):
        return None if last is None else str(last.path or last.hub)
    folder = _folder(study, last)
    return None if folder is None else f"{folder}/model"


def _folder(study: Study, node: Node) -> str | None:
    """The folder of an artifact, if it is published."""
    folder = study.store.find(node.stage, node.fingerprint)
    return None if folder is None else str(folder)
