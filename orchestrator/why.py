"""Why a node has to run: the fields that differ from its nearest published sibling, upstream included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchestrator import plan
from orchestrator.graph import Graph, Node
from stages.store import Store

#: What a field has where the other side lacks it.
ABSENT = "absent"

Fields = dict[str, Any]


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
    for entry in plan.make(graph, store):
        node = entry.node
        full = f"{node.stage}/{node.label}"
        if name not in (full, node.label, node.stage) and not (len(name) >= 4 and node.fingerprint.startswith(name)):
            continue
        nearest, differs = (None, {}) if entry.state == "done" else _nearest(node, store)
        answers.append(
            Answer(
                node=full,
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


def _nearest(node: Node, store: Store) -> tuple[str | None, dict[str, tuple[Any, Any]]]:
    """The published sibling with the fewest fields that differ, counted over the node and everything above it."""
    mine = _fields_of_node(node)
    candidates: list[tuple[int, str, dict[str, tuple[Any, Any]]]] = []
    for record in store.records(node.stage):
        theirs = _fields_of_record(record, store)
        keys = [key for key in {**theirs, **mine} if theirs.get(key, ABSENT) != mine.get(key, ABSENT)]
        differs = {key: (theirs.get(key, ABSENT), mine.get(key, ABSENT)) for key in keys}
        candidates.append((len(differs), record["label"], differs))
    if not candidates:
        return None, {}
    _, label, differs = min(candidates, key=lambda candidate: candidate[:2])
    return label, differs


def _fields_of_node(node: Node) -> Fields:
    """`stage.field` -> value for a node and everything above it; a source is its fingerprint."""
    fields: Fields = {}
    for kind, given in node.inputs.items():
        if isinstance(given, Node):
            fields |= _fields_of_node(given)
        elif given.origin is not None:
            fields |= {**_fields_of_node(given.origin), **_prefixed(kind, given.reading)}
        else:
            fields[kind] = given.fingerprint
    return {**fields, f"{node.stage}.VERSION": node.version, **_prefixed(node.stage, node.config)}


def _fields_of_record(record: dict[str, Any], store: Store) -> Fields:
    """The same for a record, as far as the records above it are still there."""
    fields: Fields = {}
    for kind, given in record["inputs"].items():
        if given["artifact"] is None:
            fields[kind] = given["fingerprint"]
            continue
        above = store.record(given["stage"], given["artifact"])
        fields |= {kind: given["artifact"]} if above is None else _fields_of_record(above, store)
        fields |= _prefixed(kind, given["reading"])
    identity = record["identity"]
    stage = identity["stage"]
    return {**fields, f"{stage}.VERSION": identity["version"], **_prefixed(stage, identity["config"])}


def _prefixed(prefix: str, fields: Fields) -> Fields:
    return {f"{prefix}.{name}": value for name, value in fields.items()}
