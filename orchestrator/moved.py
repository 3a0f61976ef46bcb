"""Data sets on the hub whose branch has moved: a study that was begun with one commit would go on with another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.experiment import DATA
from orchestrator.graph import Graph, Node
from orchestrator.plan import Entry
from orchestrator.sources import Source
from stages import hub
from stages.store import Store

#: Records of a stage that are looked at, the newest.
RECENT = 64


def notes(entries: Iterable[Entry], graph: Graph, store: Store) -> list[str]:
    """For each such data set what was made of its old commit and would be made again, and how to keep it."""
    found: dict[str, None] = {}
    records: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        moving = dict(_moving(entry.node)) if entry.open or entry.state == "blocked" else {}
        if moving and entry.node.stage not in records:
            records[entry.node.stage] = [record for _, record in store.recent(entry.node.stage, RECENT)]
        for kind, source in moving.items():
            for record in records[entry.node.stage]:
                old = _other_commit(record, entry.node, kind, source)
                if old is not None:
                    made = f"{entry.node.stage}/{record['label']}"
                    found[_note(_key(entry.node, kind, graph), source, old, made)] = None
                    break
    return list(found)


def _moving(node: Node) -> Iterator[tuple[str, Source]]:
    """The data sets of a node that are asked for by a branch or a tag, and whose commit is known."""
    for kind, given in node.inputs.items():
        if not isinstance(given, Source) or given.content.get("type") != "dataset":
            continue
        if given.content.get("commit") and not hub.is_commit(given.revision):
            yield kind, given


def _other_commit(record: dict[str, Any], node: Node, kind: str, source: Source) -> str | None:
    """The commit that a record of the same config has of the same data, if it is another one."""
    given = record["inputs"].get(kind, {})
    same = record["config"] == node.config and given.get("hub") == source.hub
    if not same or given.get("reading") != source.reading or given.get("revision") == source.content["commit"]:
        return None
    found: str | None = given.get("revision")
    return found


def _note(key: str, source: Source, old: str, made: str) -> str:
    return (
        f"{key}={source.hub}: {source.revision} has moved to {source.content['commit'][:10]}, and {made} was made of "
        f"{old[:10]}, so it is made again; ++{key}.revision={old} keeps the old one"
    )


def _key(node: Node, kind: str, graph: Graph) -> str:
    """Where the config says which data."""
    if kind in DATA:
        given = node.inputs[kind]
        same = kind == "calibration" and any(
            each.inputs.get("demonstrations") is not None
            and each.inputs["demonstrations"].fingerprint == given.fingerprint
            for each in graph.nodes.values()
        )
        return "demonstrations" if same else kind
    for (_, name), each in graph.scores.items():
        if each.fingerprint == node.fingerprint:
            return f"benchmark.{name}.{'shots' if kind == 'shots' else 'data'}"
    for (name, data), each in graph.contamination.items():
        if each.fingerprint == node.fingerprint:
            return data if kind == "corpus" else f"benchmark.{name}.data"
    return kind
