"""Carrying out a plan on this machine: start what is ready, watch it, go on until nothing can be done.

The head keeps no state of its own: it may be killed at any moment, and the next one sees in the store what is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch import failure, launchers
from launch.job import Allocation, Cluster, Handle, Job
from orchestrator import plan
from orchestrator.batch import batches, log, prepare, tidy
from orchestrator.graph import Graph, Node
from stages.store import Store

#: Seconds between two looks at the running jobs.
POLL = 0.1


@dataclass(eq=False)
class Batch:
    """A job that was started: one node, or all that share what the first one loads. `started` as by `time.time`."""

    nodes: list[Node]
    log: Path
    handle: Handle
    started: float


@dataclass
class Outcome:
    """What became of a run. `failed` has each node's messages and log, by fingerprint; `again` what was lost once."""

    executed: list[Node] = field(default_factory=list)
    again: list[tuple[Node, list[str]]] = field(default_factory=list)
    failed: dict[str, tuple[Node, list[str], Path]] = field(default_factory=dict)
    blocked: list[Node] = field(default_factory=list)


class Run:
    """One carrying-out of a plan. `watch` is called often, with the running batches, and draws them.

    `tracking` is what node.json says of W&B.
    """

    def __init__(
        self,
        graph: Graph,
        store: Store,
        cluster: Cluster,
        watch: Callable[[Run], None],
        tracking: dict[str, Any] | None = None,
    ) -> None:
        self.graph = graph
        self.store = store
        self.running: list[Batch] = []
        self.outcome = Outcome()
        self._cluster = cluster
        self._launcher = launchers.make(cluster)
        self._watch = watch
        self._tracking = tracking
        self._done: set[str] = set()
        self._in_flight: set[str] = set()
        self._waiting: list[list[Node]] = []

    def carry_out(self) -> Outcome:
        """Run everything that is not done. Stops all jobs if it is interrupted."""
        entries = plan.make(self.graph, self.store)
        self._done = {entry.node.fingerprint for entry in entries if entry.state == "done"}
        self._in_flight = {entry.node.fingerprint for entry in entries if entry.in_flight}
        tidy(entries, self.store)
        self._waiting = batches([entry.node for entry in entries if entry.open or entry.in_flight])
        try:
            while self._waiting or self.running:
                self._start_ready()
                self._watch(self)
                if self.running and not self._collect_finished():
                    time.sleep(POLL)
                elif not self.running and not any(self._ready(nodes) for nodes in self._waiting):
                    break
        finally:
            for batch in self.running:
                batch.handle.stop()
        self._watch(self)
        self.outcome.blocked += [node for nodes in self._waiting for node in nodes]
        return self.outcome

    @property
    def counts(self) -> tuple[int, int]:
        """How many nodes are done, of how many."""
        return len(self._done), len(self.graph.nodes)

    def _ready(self, nodes: list[Node]) -> bool:
        return all(need.fingerprint in self._done for node in nodes for need in self.graph.waits_for(node))

    def _start_ready(self) -> None:
        for nodes in [nodes for nodes in self._waiting if self._ready(nodes)]:
            resources = self._cluster.needs(nodes[0].stage)
            if not self._launcher.room(resources):
                continue
            folders = tuple(self._folder(node, resources) for node in nodes)
            ranks = resources.ranks(nodes[0].stage)
            job = Job(folders=folders, resources=resources, log=log(nodes[0], self.store), ranks=ranks)
            started = time.time()
            self._waiting.remove(nodes)
            self.running.append(Batch(nodes, job.log, self._launcher.start(job), started))

    def _folder(self, node: Node, needs: Allocation) -> Path:
        """The folder of a node that is about to be started; whoever has a node in flight has written its node.json."""
        if node.fingerprint in self._in_flight:
            return self.store.job(node.stage, node.fingerprint)
        return prepare(node, self.graph, self.store, needs, self._tracking)

    def _collect_finished(self) -> bool:
        """Take finished jobs out of `running`. Done means a valid record, whatever the exit code says."""
        finished = [batch for batch in self.running if batch.handle.poll() is not None]
        for batch in finished:
            self.running.remove(batch)
            self.store.refresh()
            for node in batch.nodes:
                if self.store.find(node.stage, node.fingerprint) is not None:
                    self._done.add(node.fingerprint)
                    self.outcome.executed.append(node)
                elif failure.again(self.store.job(node.stage, node.fingerprint)):
                    self.outcome.again.append((node, failure.messages(self.store.job(node.stage, node.fingerprint))))
                    self._waiting.append([node])
                else:
                    messages = self._why_not(node, batch.handle.poll())
                    self.outcome.failed[node.fingerprint] = (node, messages, batch.log)
        return bool(finished)

    def _why_not(self, node: Node, code: int | None) -> list[str]:
        if code is not None and code < 0:
            return [f"its worker was killed by signal {-code}; the same command continues it"]
        return failure.messages(self.store.job(node.stage, node.fingerprint))
