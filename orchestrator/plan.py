"""The plan: every node of a graph with its state and the reason. Reads the store, changes nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.worker import ERROR
from orchestrator.graph import Graph, Node
from orchestrator.sources import Source
from stages.store import ATTEMPTS, Store

#: done: published. running: a worker has it now. run: will be run. blocked: something outside is missing.
STATES = ("done", "running", "run", "blocked")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a plan. `path` is where the artifact is, or will be if this plan is carried out."""

    node: Node
    state: str
    reason: str
    path: Path


def make(graph: Graph, store: Store) -> list[Entry]:
    """The plan of a graph, inputs before what reads them."""
    entries: dict[str, Entry] = {}
    for key, node in graph.nodes.items():
        entries[key] = _entry(node, graph, store, entries)
    return list(entries.values())


def as_json(entries: list[Entry], graph: Graph) -> dict[str, Any]:
    """The plan for scripts: nodes (stage, label, fingerprint, state, reason, inputs, path) and the sources."""
    nodes = [
        {
            "stage": entry.node.stage,
            "label": entry.node.label,
            "fingerprint": entry.node.fingerprint,
            "state": entry.state,
            "reason": entry.reason,
            "config": entry.node.config,
            "inputs": {kind: given.fingerprint for kind, given in entry.node.inputs.items()},
            "path": str(entry.path),
        }
        for entry in entries
    ]
    sources = [
        {"name": source.name, "fingerprint": source.fingerprint, "unresolved": source.unresolved}
        for source in graph.sources.values()
    ]
    return {"nodes": nodes, "sources": sources}


def _entry(node: Node, graph: Graph, store: Store, before: dict[str, Entry]) -> Entry:
    found = store.find(node.stage, node.fingerprint)
    path = found or store.final(node.stage, node.label, node.fingerprint)
    if found is not None:
        return Entry(node=node, state="done", reason="published", path=path)
    if store.running(node.stage, node.fingerprint):
        return Entry(node=node, state="running", reason="a worker has it", path=path)
    sources = [given for given in node.inputs.values() if isinstance(given, Source)]
    unresolved = [source.unresolved for source in sources if source.unresolved]
    blocked = [need for need in node.needs() if before[need.fingerprint].state == "blocked"]
    if unresolved or blocked:
        reason = unresolved[0] if unresolved else f"needs {_name(blocked[0])}, which is blocked"
        return Entry(node=node, state="blocked", reason=reason, path=path)
    return Entry(node=node, state="run", reason=_reason(node, graph, store, before), path=path)


def _reason(node: Node, graph: Graph, store: Store, before: dict[str, Entry]) -> str:
    """Why a node will be run: what became of it before, or what it waits for."""
    job = store.job(node.stage, node.fingerprint)
    if (job / ERROR).is_file():
        return f"failed before: {'; '.join(failure(job))}"
    if (job / ATTEMPTS).is_file():
        return "was interrupted; continues"
    if store.damaged(node.stage, node.fingerprint) is not None:
        return "its record is missing or damaged"
    waits = [need for need in graph.waits_for(node) if before[need.fingerprint].state != "done"]
    return f"new; after {', '.join(_name(need) for need in waits)}" if waits else "new"


def failure(job: Path) -> list[str]:
    """The messages that a failed attempt left in the node's folder, one an error."""
    try:
        return str(json.loads((job / ERROR).read_text())["message"]).splitlines()
    except (OSError, ValueError, KeyError):
        return ["no message was left; see the log"]


def _name(node: Node) -> str:
    return f"{node.stage}/{node.label}"
