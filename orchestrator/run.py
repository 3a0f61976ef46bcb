"""Carrying out a plan on this machine: start what is ready, watch it, go on until nothing can be done.

The head keeps no state of its own: it may be killed at any moment, and the next one sees in the store what is done.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from launch import launchers
from launch.job import Cluster, Handle, Job
from launch.node import InputSpec, NodeSpec
from orchestrator import plan
from orchestrator.graph import Graph, Node
from orchestrator.sources import Source
from stages import contract
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
    """What became of a run. `failed` has each node's messages and log, by fingerprint."""

    executed: list[Node] = field(default_factory=list)
    failed: dict[str, tuple[Node, list[str], Path]] = field(default_factory=dict)
    blocked: list[Node] = field(default_factory=list)


class Run:
    """One carrying-out of a plan. `watch` is called often, with the running batches, and draws them."""

    def __init__(self, graph: Graph, store: Store, cluster: Cluster, watch: Callable[[Run], None]) -> None:
        self.graph = graph
        self.store = store
        self.running: list[Batch] = []
        self.outcome = Outcome()
        self._cluster = cluster
        self._launcher = launchers.make(cluster)
        self._watch = watch
        self._done: set[str] = set()
        self._waiting: list[list[Node]] = []

    def carry_out(self) -> Outcome:
        """Run everything that is not done. Stops all jobs if it is interrupted."""
        entries = plan.make(self.graph, self.store)
        self._done = {entry.node.fingerprint for entry in entries if entry.state == "done"}
        for entry in entries:
            if entry.state == "done":  # what a worker leaves that is killed between publishing and tidying up
                shutil.rmtree(self.store.job(entry.node.stage, entry.node.fingerprint), ignore_errors=True)
        self._waiting = self._groups([entry.node for entry in entries if entry.open or entry.in_flight])
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

    def _groups(self, nodes: Iterable[Node]) -> list[list[Node]]:
        """Nodes of a stage that share what they load (SHARES) go into one job; all others are jobs of their own."""
        groups: dict[tuple[str, ...], list[Node]] = {}
        for node in nodes:
            shares = getattr(contract.load(node.stage), "SHARES", None)
            key = (node.stage, *(node.inputs[kind].fingerprint for kind in shares)) if shares else (node.fingerprint,)
            groups.setdefault(key, []).append(node)
        return list(groups.values())

    def _log(self, node: Node) -> Path:
        """A new file for what this attempt prints: the evidence of earlier ones is kept."""
        folder = self.store.logs(node.stage)
        number = len(list(folder.glob(f"*-{node.fingerprint[:10]}-*.txt"))) + 1
        return folder / f"{self.store.final(node.stage, node.label, node.fingerprint).name}-{number}.txt"

    def _ready(self, nodes: list[Node]) -> bool:
        return all(need.fingerprint in self._done for node in nodes for need in self.graph.waits_for(node))

    def _start_ready(self) -> None:
        for nodes in [nodes for nodes in self._waiting if self._ready(nodes)]:
            resources = self._cluster.needs(nodes[0].stage)
            if not self._launcher.room(resources):
                continue
            job = Job(
                folders=tuple(self._prepare(node) for node in nodes), resources=resources, log=self._log(nodes[0])
            )
            started = time.time()
            self._waiting.remove(nodes)
            self.running.append(Batch(nodes, job.log, self._launcher.start(job), started))

    def _prepare(self, node: Node) -> Path:
        """Write the node's node.json into its folder in the store."""
        folder = self.store.job(node.stage, node.fingerprint)
        NodeSpec(
            store=str(self.store.root),
            stage=node.stage,
            label=node.label,
            fingerprint=node.fingerprint,
            identity=node.identity,
            inputs={kind: _spec(given) for kind, given in node.inputs.items()},
            continues=self.graph.shorter(node),
            resources=asdict(self._cluster.needs(node.stage).seen),
        ).write(folder)
        return folder

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
                else:
                    messages = self._why_not(node, batch.handle.poll())
                    self.outcome.failed[node.fingerprint] = (node, messages, batch.log)
        return bool(finished)

    def _why_not(self, node: Node, code: int | None) -> list[str]:
        if code is not None and code < 0:
            return [f"its worker was killed by signal {-code}; the same command continues it"]
        return plan.failure(self.store.job(node.stage, node.fingerprint))


def _spec(given: Node | Source) -> InputSpec:
    if isinstance(given, Source):
        return given.spec()
    return InputSpec(fingerprint=given.fingerprint, stage=given.stage, artifact=given.fingerprint)
