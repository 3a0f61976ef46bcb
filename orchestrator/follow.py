"""Following a submitted study until nothing is in flight. What was lost on the way is submitted again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from launch import failure
from launch.job import Cluster
from orchestrator import orphans, plan
from orchestrator.batch import tidy
from orchestrator.graph import Graph, Node
from orchestrator.plan import Entry
from orchestrator.submit import Submitter
from orchestrator.watch import POLL, Changes
from stages.saved import Saved
from stages.store import Store

#: How often a node is submitted again whose jobs were lost (preempted, killed, or gone with their machine) before they
#: had saved anything new.
AGAIN = 3


def follow(
    graph: Graph,
    store: Store,
    cluster: Cluster,
    tell: Callable[[str], None],
    *,
    tracking: dict[str, Any] | None = None,
    look: Callable[[list[Entry]], None] = lambda entries: None,
) -> list[Entry]:
    """Stay until every node is done, failed, or waits for one that failed; returns the last plan.

    `tell` is told what changes, and `look` is shown every plan.
    """
    again: Counter[tuple[str, int | None]] = Counter()
    changes = Changes(tell)
    while True:
        store.refresh()
        entries = plan.make(graph, store)
        changes(entries)
        look(entries)
        lost = _lost(entries, graph, store, again)
        if lost:
            again.update(_reached(node, store) for node in lost)
            leave = [entry.node for entry in entries if entry.open and entry.node not in lost]
            Submitter(graph, store, cluster, tell, tracking).submit(entries, leave)
        elif not any(entry.awaited for entry in entries):
            tidy(entries, store)
            orphans.cancel(store, tell)  # a controller that was restarted may hold jobs that have run meanwhile
            return entries
        time.sleep(POLL)


def _lost(entries: list[Entry], graph: Graph, store: Store, again: Counter[tuple[str, int | None]]) -> list[Node]:
    """Nodes that lack nothing but a job: no stage left a reason why it, or what they need, would fail again."""
    stuck: set[str] = set()
    lost = []
    for entry in entries:
        key = entry.node.fingerprint
        tried = again[_reached(entry.node, store)] >= AGAIN
        failed = tried or entry.starved or failure.for_good(store.attempt(entry.node.stage, key))
        if entry.open and (failed or any(need.fingerprint in stuck for need in graph.waits_for(entry.node))):
            stuck.add(key)
        elif entry.open:
            lost.append(entry.node)
    return lost


def _reached(node: Node, store: Store) -> tuple[str, int | None]:
    """A node, and the step that it is known to have saved."""
    return node.fingerprint, Saved(store.attempt(node.stage, node.fingerprint)).step
