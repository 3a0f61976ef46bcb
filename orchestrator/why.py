"""Why a node has to run: the fields that differ from its nearest published sibling, upstream included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator import names, plan
from orchestrator.graph import Graph, Node
from stages.store import Store

#: What a field has where the other side lacks it.
ABSENT = "absent"

Fields = dict[str, Any]

#: What a record has, or will have: `fingerprint`, `identity` and `inputs`, kind -> the fields of an InputSpec.
Trace = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Why one node is in its state.

    Attributes:
        identity: the pre-image of the fingerprint.
        nearest: label of the published sibling that differs least, None for a node that is done or has no sibling.
        differs: field -> (the sibling's value, this node's), upstream fields included.
    """

    node: str
    fingerprint: str
    state: str
    reason: str
    path: str
    identity: dict[str, Any]
    nearest: str | None
    differs: dict[str, tuple[Any, Any]]


def explain(name: str, graph: Graph, store: Store) -> list[Answer]:
    """An answer for each node that `name` means: stage/label, label, stage, or the beginning of a fingerprint."""
    answers = []
    lineage = _Lineage(graph, store)
    meant = set(names.named(name, graph.nodes.values()))
    for entry in plan.make(graph, store):
        node = entry.node
        if node not in meant:
            continue
        nearest, differs = (None, {}) if entry.state == "done" else _nearest(node, store, lineage)
        answers.append(
            Answer(
                node=names.full(node),
                fingerprint=node.fingerprint,
                state=entry.state,
                reason=entry.reason,
                path=str(entry.path),
                identity=node.identity,
                nearest=nearest,
                differs=differs,
            )
        )
    return answers


def _nearest(node: Node, store: Store, lineage: _Lineage) -> tuple[str | None, dict[str, tuple[Any, Any]]]:
    """The published sibling with the fewest fields that differ, counted over the node and everything above it."""
    mine = lineage.fields(_trace(node))
    candidates: list[tuple[int, str, dict[str, tuple[Any, Any]]]] = []
    for record in store.records(node.stage):
        theirs = lineage.fields(record)
        keys = [key for key in {**theirs, **mine} if theirs.get(key, ABSENT) != mine.get(key, ABSENT)]
        differs = {key: (theirs.get(key, ABSENT), mine.get(key, ABSENT)) for key in keys}
        candidates.append((len(differs), record["label"], differs))
    if not candidates:
        return None, {}
    _, label, differs = min(candidates, key=lambda candidate: candidate[:2])
    return label, differs


class _Lineage:
    """`stage.field` -> value for a node or record and everything above it; a source is its fingerprint.

    What is above is looked up in the graph, then in the store, as far as its record is still there. Each is merged
    once, from the top down: chains may be long, and diamonds have more paths than there is time for.
    """

    def __init__(self, graph: Graph, store: Store) -> None:
        self._graph = graph
        self._store = store
        self._known: dict[str, Fields | None] = {}  # None: its record is gone

    def fields(self, trace: Trace) -> Fields:
        pending = [trace]
        while pending:
            last = pending[-1]
            above = [given for given in last["inputs"].values() if given["artifact"] is not None]
            missing = [given for given in above if given["artifact"] not in self._known]
            for given in missing:
                found = self._look_up(given["stage"], given["artifact"])
                if found is None:
                    self._known[given["artifact"]] = None
                else:
                    pending.append(found)
            if last is pending[-1]:
                self._known[last["fingerprint"]] = self._merged(pending.pop())
        fields = self._known[trace["fingerprint"]]
        assert fields is not None
        return fields

    def _look_up(self, stage: str, fingerprint: str) -> Trace | None:
        node = self._graph.nodes.get(fingerprint)
        return self._store.record(stage, fingerprint) if node is None else _trace(node)

    def _merged(self, trace: Trace) -> Fields:
        """The fields of a trace whose inputs are known: its own win over those above it."""
        fields: Fields = {}
        for kind, given in trace["inputs"].items():
            if given["artifact"] is None:
                fields[kind] = given["fingerprint"]
                continue
            above = self._known[given["artifact"]]
            fields |= {kind: given["artifact"]} if above is None else above
            fields |= _prefixed(kind, given["reading"])
        identity = trace["identity"]
        stage = identity["stage"]
        return {**fields, f"{stage}.VERSION": identity["version"], **_prefixed(stage, identity["config"])}


def _trace(node: Node) -> Trace:
    inputs = {kind: asdict(given.spec()) for kind, given in node.inputs.items()}
    return {"fingerprint": node.fingerprint, "identity": node.identity, "inputs": inputs}


def _prefixed(prefix: str, fields: Fields) -> Fields:
    return {f"{prefix}.{name}": value for name, value in fields.items()}
