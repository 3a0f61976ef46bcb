"""The results of a study: its table, where its models are, and the verb `report`."""

from __future__ import annotations

import json

from rich.markup import escape

from orchestrator import report, view
from orchestrator.command import DONE, Command, Study
from orchestrator.graph import Node


def verb(study: Study, command: Command) -> int:
    """Show the results of what is published now."""
    show(study, command.as_json)
    return DONE


def show(study: Study, as_json: bool) -> None:
    """The result table if the experiment has benchmarks, else where the variants' artifacts are."""
    places = {name: _place(study, name) for name in study.experiment.variants}
    result = report.table(study.experiment, study.graph, study.store)
    written = report.write(result, study.store.reports(study.experiment.name)) if study.experiment.benchmarks else []
    if as_json:
        rows = {
            name: {
                column: None if score is None else {"mean": score.mean, "se": score.error}
                for column, score in zip(result.columns, scores, strict=True)
            }
            for name, scores in result.rows.items()
        }
        print(json.dumps({"variants": places, "table": rows, "files": [str(file) for file in written]}))
        return
    out = view.console()
    if study.experiment.benchmarks:
        view.show_table(result, out)
        out.print(f"pass@1 in percent ± standard error; written to {escape(' and '.join(map(str, written)))}")
    else:
        for name, place in places.items():
            print(f"{name}: {place or 'not there yet'}")


def _place(study: Study, variant: str) -> str | None:
    """The folder of the model at the end of a variant's chain, if it is published."""
    last = study.graph.variants[variant].get("checkpoint")
    if not isinstance(last, Node):
        return None if last is None else str(last.path or last.hub)
    folder = study.store.find(last.stage, last.fingerprint)
    return None if folder is None else str(folder / "model")
