"""Batches: the nodes of one job, what the head writes for them before the job starts, and what it clears away."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launch.job import Allocation
from launch.node import NodeSpec
from orchestrator.graph import Graph, Node
from orchestrator.plan import Entry
from stages import contract, part
from stages.store import Store


def batches(nodes: Iterable[Node]) -> list[list[Node]]:
    """Nodes of a stage that share what they load (SHARES) go into one job; all others are jobs of their own."""
    groups: dict[tuple[str, ...], list[Node]] = {}
    for node in nodes:
        shares = getattr(contract.load(node.stage), "SHARES", None)
        key = (node.stage, *(node.inputs[kind].fingerprint for kind in shares)) if shares else (node.fingerprint,)
        groups.setdefault(key, []).append(node)
    return list(groups.values())


def log(node: Node, store: Store) -> Path:
    """A new file for what an attempt prints: the evidence of earlier ones is kept."""
    folder = store.logs(node.stage)
    number = len(list(folder.glob(f"*-{node.fingerprint[:10]}-*.txt"))) + 1
    return folder / f"{store.final(node.stage, node.label, node.fingerprint).name}-{number}.txt"


def prepare(node: Node, graph: Graph, store: Store, needs: Allocation, tracking: dict[str, Any] | None = None) -> Path:
    """Write the node's node.json into its folder in the store."""
    folder = store.job(node.stage, node.fingerprint)
    NodeSpec(
        store=str(store.root),
        stage=node.stage,
        label=node.label,
        fingerprint=node.fingerprint,
        identity=node.identity,
        inputs={kind: given.spec() for kind, given in node.inputs.items()},
        continues=graph.shorter(node),
        resources=asdict(needs.seen),
        tracking=tracking,
        reads=[str(each.root) for each in store.reads],
    ).write(folder)
    return folder


def tidy(entries: Iterable[Entry], store: Store) -> None:
    """Remove what a worker leaves that is killed between publishing its node and removing the node's folder."""
    for entry in entries:
        here = entry.state == "done" and entry.path.is_relative_to(store.root)
        if here and store.unfinished(entry.node.stage, entry.node.fingerprint):
            part.remove(store.job(entry.node.stage, entry.node.fingerprint))
