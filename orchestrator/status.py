"""The verb `status`: the plan with the progress of what runs now, and where to look next. It only reads."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape

from orchestrator import drawing, hint, learned, live, other_code, permission, plan, view, watch
from orchestrator.command import DONE, FAILED, Command, Study
from orchestrator.drawing import Drawing, Facts, Report
from orchestrator.forecast import remaining
from orchestrator.names import full
from orchestrator.plan import Entry


def verb(study: Study, command: Command) -> int:
    """Show the tree of the study, or plain lines of it; with --watch, until nothing is in flight."""
    if "--watch" in command.flags:
        with live.Follow(study, command, view.console(errors=command.as_json)) as draw:
            entries = watch.watch(study.graph, study.store, draw)
        if command.as_json:
            print(json.dumps(as_json(entries, study, command)))
        return DONE if all(entry.state == "done" for entry in entries) else FAILED
    entries = plan.make(study.graph, study.store)
    out = view.console()
    if command.as_json:
        print(json.dumps(as_json(entries, study, command)))
    elif out.is_terminal:
        out.print(live.Picture(study, command, out).whole(entries))
        _tell_notes(entries, study, out)
    else:
        _lines(entries, study, command, out)
    return DONE


def as_json(entries: Sequence[Entry], study: Study, command: Command) -> dict[str, Any]:
    """The plan for scripts; beside it the progress or the seconds of each node, the time left, and what to do next."""
    facts, shown = Facts(study.store), plan.as_json(list(entries), study.graph)
    reports = facts.progress(entries)
    for node, entry in zip(shown["nodes"], entries, strict=True):
        node["progress"] = _plain(reports.get(entry.node.fingerprint))
        node["seconds"] = facts.seconds(entry) if entry.state == "done" else None
    left = remaining.left(entries, study, reports)
    ahead = None if left is None else asdict(left)
    shown["notes"] = _notes(entries, study)
    return {**shown, "left": ahead, "next": [asdict(each) for each in hint.hints(entries, command)]}


def _plain(report: Report | None) -> Report | None:
    """A report with null for a metric that JSON has no number for: nan and infinities, of a training that diverges."""
    if report is None:
        return None
    finite = {name: value if math.isfinite(value) else None for name, value in report["metrics"].items()}
    return {**report, "metrics": finite}


def _lines(entries: list[Entry], study: Study, command: Command, out: Console) -> None:
    """Every node of the plan in a line, then what runs, what is left, and where to look next."""
    view.show_plan(entries, study.graph, out)
    facts = Facts(study.store)
    reports = facts.progress(entries)
    draw = Drawing(facts, out, folds=True)
    for entry in entries:
        if report := reports.get(entry.node.fingerprint):
            out.print(f"{view.escape(full(entry.node))}: {escape(draw.progress(report))}", soft_wrap=True)
    _tell_notes(entries, study, out)
    left = remaining.left(entries, study, reports)
    if left is not None:
        out.print(str(left))
    for line in drawing.advice(hint.hints(entries, command), folds=True):
        out.print(line, soft_wrap=True)


def _tell_notes(entries: list[Entry], study: Study, out: Console) -> None:
    for note in _notes(entries, study):
        out.print(view.escape(f"note: {note}"), soft_wrap=True)


def _notes(entries: Sequence[Entry], study: Study) -> list[str]:
    """What may not be written or read here; what is published and is not what it looks like: made by other code, or RL
    that learned nothing."""
    done = [entry.node for entry in entries if entry.state == "done"]
    return [
        *permission.notes(entries, study.store),
        *other_code.notes(entries, study.store),
        *learned.notes(done, study.store),
    ]
