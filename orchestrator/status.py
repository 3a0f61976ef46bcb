"""The verb `status`: the plan with the progress of what runs now. It only reads."""

from __future__ import annotations

import json

from rich.markup import escape

from orchestrator import names, plan, view, watch
from orchestrator.command import DONE, FAILED, Command, Study


def verb(study: Study, command: Command) -> int:
    """Show the plan with the progress of what runs now; with --watch, until nothing is in flight."""
    if "--watch" in command.flags:
        with view.Follow(study.graph, study.store, view.console(errors=command.as_json)) as draw:
            entries = watch.watch(study.graph, study.store, draw)
        if command.as_json:
            print(json.dumps(plan.as_json(entries, study.graph)))
        return DONE if all(entry.state == "done" for entry in entries) else FAILED
    entries = plan.make(study.graph, study.store)
    progress = {
        entry.node.fingerprint: view.read_progress(study.store, entry.node.stage, entry.node.fingerprint)
        for entry in entries
        if entry.state == "running"
    }
    if command.as_json:
        shown = plan.as_json(entries, study.graph)
        for node in shown["nodes"]:
            node["progress"] = progress.get(node["fingerprint"])
        print(json.dumps(shown))
    else:
        out = view.console()
        view.show_plan(entries, study.graph, out)
        for entry in entries:
            if found := progress.get(entry.node.fingerprint):
                name = escape(names.full(entry.node))
                out.print(f"{name}: {found['step']} of {found['total']} {found['metrics'] or ''}")
    return DONE
