"""The plan: every node of a graph with its state and the reason. Reads the store and the queue, changes neither."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from launch import claim as claims
from launch import exhaustion, failure, stage_code, standing
from launch.claim import Claim
from launch.standing import FREE, Standing
from orchestrator import deaths, permission
from orchestrator.graph import Graph, Node
from orchestrator.sources import Source
from stages import artifact
from stages.part import ATTEMPTS
from stages.store import Store

#: done: published. running, queued: somebody's worker has it, or a job of Slurm will. failed: its last attempt did, and
#: it will be tried again. run: will be run. blocked: something outside is missing.
STATES = ("done", "running", "queued", "failed", "run", "blocked")

#: Why a node is done, where the code of its stage has changed since.
OTHER_CODE = "published, by other code"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a plan.

    `starved`: its last attempt ran out of memory, as the next one would.
    `path` is where the artifact is, or will be if this plan is carried out; `claim` and `standing` are those of whoever
    has, or had, a node that is not done.
    """

    node: Node
    state: str
    reason: str
    path: Path
    claim: Claim | None = None
    standing: Standing = FREE
    starved: bool = False

    @property
    def in_flight(self) -> bool:
        """Whether somebody is at it."""
        return self.state in ("running", "queued")

    @property
    def awaited(self) -> bool:
        """Whether somebody is at it of whom this machine will know when it is over."""
        return self.in_flight and not self.standing.out_of_sight

    @property
    def open(self) -> bool:
        """Whether carrying out this plan would run it."""
        return self.state in ("run", "failed")


def make(graph: Graph, store: Store) -> list[Entry]:
    """The plan of a graph, inputs before what reads them. At most one call of squeue, none without jobs of Slurm."""
    unfinished = [node for node in graph.nodes.values() if store.unfinished(node.stage, node.fingerprint)]
    held = {node.fingerprint: claims.read(store.job(node.stage, node.fingerprint)) for node in unfinished}
    queue = standing.look(claim for claim in held.values() if claim is not None)
    if unfinished:
        store.refresh()  # what was published while we asked: a job that is over now may have left its record
    entries: dict[str, Entry] = {}
    code = cache(lambda stage: stage_code.of(stage, store.root).digest)
    for key, node in graph.nodes.items():
        found = store.find(node.stage, node.fingerprint)
        if found is not None:
            root = found.parent.parent
            where = "" if root == store.root else f"; in {root}"
            entries[key] = Entry(node=node, state="done", reason=_published(node, store, code) + where, path=found)
            continue
        claim, stands = held.get(key), FREE
        if key in held:
            locked = store.running(node.stage, node.fingerprint)
            stands = standing.of(store.job(node.stage, node.fingerprint), claim, queue, locked=locked)
        state, reason = _state(node, graph, store, entries, stands)
        path = store.final(node.stage, node.label, node.fingerprint)
        starved = state == "failed" and exhaustion.WORDS in reason
        entries[key] = Entry(
            node=node, state=state, reason=reason, path=path, claim=claim, standing=stands, starved=starved
        )
    store.remember()
    return list(entries.values())


def as_json(entries: list[Entry], graph: Graph) -> dict[str, Any]:
    """The plan for scripts: nodes (stage, label, fingerprint, state, reason, inputs, path, job) and the sources."""
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
            "job": entry.standing.job,
        }
        for entry in entries
    ]
    sources = [
        {"name": source.name, "fingerprint": source.fingerprint, "unresolved": source.unresolved}
        for source in graph.sources.values()
    ]
    return {"nodes": nodes, "sources": sources, "counts": counts(entries, graph)}


def counts(entries: list[Entry], graph: Graph) -> dict[str, int]:
    """How often the chains name a node, how many distinct ones there are, and how many of them are in each state."""
    states = {state: sum(entry.state == state for entry in entries) for state in STATES}
    return {"references": graph.references, "distinct": len(entries), **states}


def _state(node: Node, graph: Graph, store: Store, before: dict[str, Entry], stands: Standing) -> tuple[str, str]:
    """State and reason of a node that is not published."""
    if stands.stuck and all(before[need.fingerprint].state == "done" for need in graph.waits_for(node)):
        return "run", f"{stands.reason} in vain"
    if stands.state != "free":
        return stands.state, stands.reason
    sources = [given for given in node.inputs.values() if isinstance(given, Source)]
    unresolved = [source.unresolved for source in sources if source.unresolved]
    if unresolved:
        return "blocked", unresolved[0]
    blocked = [need for need in node.needs() if before[need.fingerprint].state == "blocked"]
    if blocked:
        return "blocked", f"needs {_name(blocked[0])}, which is blocked"
    return _left_behind(node, store, stands) or ("run", _new(node, graph, store, before))


def _published(node: Node, store: Store, code: Callable[[str], str]) -> str:
    made = store.code(node.stage, node.fingerprint)
    return "published" if made is None or made == code(node.stage) else OTHER_CODE


def _left_behind(node: Node, store: Store, stands: Standing) -> tuple[str, str] | None:
    """State and reason of a node that was tried before."""
    if not store.unfinished(node.stage, node.fingerprint):
        return None
    job, last = store.job(node.stage, node.fingerprint), store.attempt(node.stage, node.fingerprint)
    if failure.failed(last):
        return "failed", f"failed before: {'; '.join(failure.messages(last))}"
    started, claim = os.path.isfile(last / ATTEMPTS), claims.read(job)
    if (starved := deaths.starved(claim, stands, store)) is not None:
        return "failed", starved
    if stands.ended == "FAILED" and not started:
        return "failed", f"{stands.reason} before it {_silence(claim, store)}"
    if stands.reason:
        words = deaths.last_words(claim, store) if stands.ended == "FAILED" else None
        said = f"; {words}" if words else ""
        return (
            ("failed", f"{stands.reason}; continues{said}")
            if started
            else ("run", f"{stands.reason} before it started")
        )
    return ("run", "was interrupted; continues") if started else None


def _silence(claim: Claim | None, store: Store) -> str:
    """What a job did not come to that failed without a word in its node's folder, and where to look for the reason."""
    files = deaths.written(claim, store)
    if not files:  # Slurm makes them when a job starts, wherever that is
        return f"could write anything to {store.root}: do compute nodes see it?"
    said = deaths.last_words(claim, store)
    return f"started its work; {said or f'it printed nothing to {files[0]}'}"


def _new(node: Node, graph: Graph, store: Store, before: dict[str, Entry]) -> str:
    """What a node that was never tried waits for."""
    for each in (store, *store.reads):
        damaged = each.damaged(node.stage, node.fingerprint)
        if damaged is not None:
            where = "" if each is store else f" in {each.root}"
            return permission.unreadable(damaged / artifact.RECORD) or f"its record{where} is missing or damaged"
    if graph.for_data_alone(node):
        return "new; for its data sets"
    waits = [need for need in graph.waits_for(node) if before[need.fingerprint].state != "done"]
    return f"new; after {', '.join(_name(need) for need in waits)}" if waits else "new"


def _name(node: Node) -> str:
    return f"{node.stage}/{node.label}"
