"""Carrying out a plan on this machine: start what is ready, watch it, go on until nothing can be done.

The head keeps no state of its own: it may be killed at any moment, and the next one sees in the store what is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch import cause, exhaustion, failure, launchers, standing
from launch import claim as claims
from launch.exhaustion import Mark
from launch.job import Allocation, Cluster, Handle, Job
from launch.queue import ending
from launch.standing import FREE, Standing
from orchestrator import plan
from orchestrator.batch import batches, log, prepare, tidy
from orchestrator.graph import Graph, Node
from stages import part
from stages.own import NotOwn
from stages.store import Store

#: Seconds between two looks at the running jobs, and between two at a node that somebody else has.
POLL, RECHECK = 0.1, 1.0


@dataclass(eq=False)
class Batch:
    """A job that was started: one node, or all that share what the first one loads.

    `started` is as by `time.time`; `begun` is what tells later whether memory ran out.
    """

    nodes: list[Node]
    log: Path
    handle: Handle
    started: float
    begun: Mark


@dataclass
class Outcome:
    """What became of a run. `failed` has each node's messages and log, by fingerprint; `again` what was lost once.

    `waits` says of a node for whom it waits, each time that this changes; `left` has the nodes of which this machine
    will never know whether somebody is at them, with what is known.
    """

    executed: list[Node] = field(default_factory=list)
    again: list[tuple[Node, list[str]]] = field(default_factory=list)
    failed: dict[str, tuple[Node, list[str], Path]] = field(default_factory=dict)
    waits: list[tuple[Node, str]] = field(default_factory=list)
    left: dict[str, tuple[Node, str]] = field(default_factory=dict)
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
        self._waiting: list[list[Node]] = []
        self._others: dict[str, tuple[Standing, float]] = {}  # node -> who has it, and when that was looked up

    def carry_out(self) -> Outcome:
        """Run everything that is not done. Stops all jobs if it is interrupted."""
        entries = plan.make(self.graph, self.store)
        self._done = {entry.node.fingerprint for entry in entries if entry.state == "done"}
        tidy(entries, self.store)
        self._waiting = batches([entry.node for entry in entries if entry.open or entry.in_flight])
        try:
            while self._waiting or self.running:
                self._start_ready()
                self._watch(self)
                if not self._collect_finished():
                    if not self.running and not any(self._awaited(nodes) for nodes in self._waiting):
                        break
                    time.sleep(POLL)
        finally:
            for batch in self.running:
                batch.handle.stop()
        self._watch(self)
        left = self.outcome.left
        self.outcome.blocked += [node for nodes in self._waiting for node in nodes if node.fingerprint not in left]
        return self.outcome

    @property
    def counts(self) -> tuple[int, int]:
        """How many nodes are done, of how many."""
        return len(self._done), len(self.graph.nodes)

    def _ready(self, nodes: list[Node]) -> bool:
        return all(need.fingerprint in self._done for node in nodes for need in self.graph.waits_for(node))

    def _awaited(self, nodes: list[Node]) -> bool:
        """Whether a batch can be started, or will be once somebody else lets it go."""
        return self._ready(nodes) and any(node.fingerprint not in self.outcome.left for node in nodes)

    def _start_ready(self) -> None:
        for nodes in [nodes for nodes in self._waiting if self._ready(nodes)]:
            resources = self._cluster.needs(nodes[0].stage)
            if not self._launcher.room(resources):
                continue
            mine = [node for node in nodes if self._is_free(node)]
            rest = [node for node in nodes if node not in mine and node.fingerprint not in self._done]
            at = self._waiting.index(nodes)
            self._waiting[at : at + 1] = [rest] if rest else []
            if not mine:
                continue
            file = log(mine[0], self.store)
            try:
                self.running.append(self._start(mine, resources, file))
            except OSError as error:  # its python is gone, or this machine takes no further process
                why = cause.of(error, self.store.root) or f"{error.filename}: {error.strerror}"
                message = f"its worker cannot be started: {why}"
                self.outcome.failed |= {node.fingerprint: (node, [message], file) for node in mine}
            except NotOwn as error:
                self.outcome.failed |= {node.fingerprint: (node, [str(error)], file) for node in mine}

    def _start(self, mine: list[Node], resources: Allocation, log: Path) -> Batch:
        """Start a worker for nodes that nobody else is at."""
        folders = tuple(prepare(node, self.graph, self.store, resources, self._tracking) for node in mine)
        job = Job(folders=folders, resources=resources, log=log, ranks=resources.ranks(mine[0].stage))
        started, begun = time.time(), exhaustion.mark(log)
        return Batch(mine, log, self._launcher.start(job), started, begun)

    def _is_free(self, node: Node) -> bool:
        """Whether nobody else is at a node; if somebody is, it is said who, and looked up again a while later.

        No worker is started that would only wait: it would take a place, and say for whom in its log alone.
        """
        before, looked = self._others.get(node.fingerprint, (FREE, float("-inf")))
        if before.state != "free" and time.monotonic() - looked < RECHECK:
            return False
        now = self._standing(node)
        self._others[node.fingerprint] = (now, time.monotonic())
        if now.state == "free":
            return True
        self.store.refresh()
        if self.store.find(node.stage, node.fingerprint) is not None:
            self._done.add(node.fingerprint)
            self.outcome.executed.append(node)
            return False
        if (now.state, now.whom) != (before.state, before.whom):
            self.outcome.waits.append((node, now.reason))
        if now.out_of_sight:
            self.outcome.left[node.fingerprint] = (node, now.reason)
        else:
            self.outcome.left.pop(node.fingerprint, None)
        return False

    def _standing(self, node: Node) -> Standing:
        folder = self.store.job(node.stage, node.fingerprint)
        if not folder.is_dir():
            return FREE
        claim, locked = claims.read(folder), self.store.running(node.stage, node.fingerprint)
        return standing.of(folder, claim, standing.look([] if claim is None else [claim]), locked=locked)

    def _has_another(self, node: Node, batch: Batch) -> bool:
        """Whether somebody has a node that a worker of ours has come back without."""
        claim = claims.read(self.store.job(node.stage, node.fingerprint))
        gone = claim is not None and claim.launcher == "local" and claim.here and not claim.alive
        if claim is not None and (gone or claim.is_of(batch.handle.pid)):
            return False  # ours, even if a process that it has started still has the lock
        return self._standing(node).state != "free"

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
                elif self._has_another(node, batch):  # who was faster, or has taken it over
                    self._waiting.append([node])
                elif failure.again(last := part.mine(self.store.job(node.stage, node.fingerprint))):
                    self.outcome.again.append((node, failure.messages(last)))
                    self._waiting.append([node])
                else:
                    messages = self._why_not(node, batch, batch.handle.poll())
                    self.outcome.failed[node.fingerprint] = (node, messages, batch.log)
        return bool(finished)

    def _why_not(self, node: Node, batch: Batch, code: int | None) -> list[str]:
        mine = part.mine(self.store.job(node.stage, node.fingerprint))
        if failure.failed(mine):
            return failure.messages(mine)
        if code is not None and code < 0:
            starved = batch.begun.evidence(code)
            if starved is not None:
                return [f"{exhaustion.WORDS}{starved}; its worker was killed by signal {-code}"]
            return [f"its worker was killed by signal {-code}; the same command continues it"]
        said = exhaustion.last(exhaustion.tail(batch.log, batch.begun.size))
        how = "ended" if code is None else f"ended with {ending(code)}"
        return [f"its worker {how} and left no message; {f'its last words: {said}' if said else 'it printed nothing'}"]
