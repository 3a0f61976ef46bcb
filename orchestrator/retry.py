"""Retrying: the part of a graph that failed or was lost, with what depends on it, and nothing that was never tried."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace

from orchestrator.graph import Graph, Node
from orchestrator.plan import Entry
from stages.part import ATTEMPTS
from stages.store import Store


def lost(entries: Iterable[Entry], store: Store) -> list[Node]:
    """The nodes whose last attempt failed, was interrupted, or was submitted and never came to start."""
    return [entry.node for entry in entries if entry.state == "failed" or _was_lost(entry, store)]


def restrict(graph: Graph, entries: Iterable[Entry], again: Iterable[Node]) -> tuple[Graph, list[Node]]:
    """The graph of `again`, what depends on it, and what is done or in flight for it; and what had to be left out.

    Left out is what also needs something that was never tried.
    """
    states = {entry.node.fingerprint: entry for entry in entries}
    wanted = {node.fingerprint for node in again}
    kept: dict[str, Node] = {}
    left: list[Node] = []
    for key, node in graph.nodes.items():  # what a node waits for comes before it
        if not wanted.isdisjoint(need.fingerprint for need in graph.waits_for(node)):
            wanted.add(key)
        entry = states[key]
        ready = all(need.fingerprint in kept for need in node.needs())
        if entry.state == "done" or (ready and (entry.in_flight or key in wanted)):
            kept[key] = node
        elif key in wanted:
            left.append(node)
    needed = _needed(kept, wanted)
    nodes = {key: node for key, node in kept.items() if not states[key].in_flight or key in needed}
    restricted = replace(graph, nodes=nodes)
    restricted.sort()
    return restricted, left


def _was_lost(entry: Entry, store: Store) -> bool:
    """Whether a node that is to be run was started, or given to Slurm, before."""
    if entry.state != "run":
        return False
    submitted = entry.claim is not None and not entry.claim.released
    return submitted or os.path.isfile(store.attempt(entry.node.stage, entry.node.fingerprint) / ATTEMPTS)


def _needed(nodes: dict[str, Node], wanted: set[str]) -> set[str]:
    """What `wanted` are, and what they read, at any distance."""
    found: set[str] = set()
    waiting = [node for key, node in nodes.items() if key in wanted]
    while waiting:
        node = waiting.pop()
        if node.fingerprint not in found:
            found.add(node.fingerprint)
            waiting += node.needs()
    return found
