"""Submitting a plan to Slurm: every open node once, with what it waits for. Then the head may go.

The head keeps nothing in memory that it needs: it may be killed at any moment, and the same command goes on where it
was. What others have in flight is not submitted again; jobs hang on theirs.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from launch import claim as claims
from launch import order, provenance, queue, sharing, snapshot, standing
from launch.claim import LEASE, Claim
from launch.job import Cluster
from launch.queue import Unanswered
from launch.slurm import Refused, Silent, Submission
from launch.snapshot import Snapshot
from orchestrator import orphans
from orchestrator.arrays import Array, arrange
from orchestrator.batch import batches, log, prepare, tidy
from orchestrator.graph import Graph, Node
from orchestrator.handing import Handing, Unexplained, queue_of_mine
from orchestrator.plan import Entry
from orchestrator.refusal import ConfigError
from stages import own, part
from stages.own import NotOwn
from stages.store import Store

#: Seconds between two looks at a claim whose head is submitting it.
RECHECK = 0.2
#: Elements of a job array where Slurm does not say how many it allows.
MOST = 1000

Held = tuple[Node, Path, Claim]


@dataclass
class Submitted:
    """What became of a submission.

    Attributes:
        jobs: id -> the nodes of the job, for each job (or element of a job array) that was submitted.
        calls: how often sbatch was called.
        attached: nodes that somebody else has in flight.
        held_back: nodes that wait for a worker which is no job of Slurm, so that nothing can hang on it.
    """

    jobs: dict[str, list[Node]] = field(default_factory=dict)
    calls: int = 0
    attached: list[Entry] = field(default_factory=list)
    held_back: list[Node] = field(default_factory=list)

    @property
    def nodes(self) -> int:
        """How many nodes were submitted."""
        return sum(map(len, self.jobs.values()))


class Submitter:
    """One submission of the open nodes of a graph. `tell` shows a person what it waits for.

    `tracking` is what node.json says of W&B.
    """

    def __init__(
        self,
        graph: Graph,
        store: Store,
        cluster: Cluster,
        tell: Callable[[str], None],
        tracking: dict[str, Any] | None = None,
    ) -> None:
        self._graph, self._store, self._cluster, self._tell = graph, store, cluster, tell
        self._tracking = tracking
        self._entries: dict[str, Entry] = {}
        self._jobs: dict[str, str] = {}  # fingerprint -> the job to depend on
        self._intact: dict[Array, str] = {}  # arrays that went out whole -> their id
        self._held: list[Held] = []
        self._settings: dict[str, str] = {}
        self._outcome = Submitted()

    def submit(self, entries: Iterable[Entry], leave: Iterable[Node] = ()) -> Submitted:
        """Submit the open nodes of a plan, but for those in `leave` and what depends on them.

        Raises:
            ConfigError: Slurm refuses a job, or is not there. Nothing of this submission stays in its queue then.
        """
        self._entries = {entry.node.fingerprint: entry for entry in entries}
        tidy(self._entries.values(), self._store)
        out = {node.fingerprint for node in leave}
        new: dict[str, Node] = {}
        for key, entry in self._entries.items():
            needs = {need.fingerprint for need in self._graph.waits_for(entry.node)}
            if not out.isdisjoint(needs):
                out.add(key)
            # It hangs on a job that is over, without what it needs: Slurm cancels it in a moment.
            doomed = entry.standing.hangs and not needs.isdisjoint(new)
            if entry.in_flight and not doomed and self._attach(entry.node):
                self._outcome.attached.append(entry)
            elif (entry.open or entry.in_flight) and key not in out:
                new[key] = entry.node
        if new:
            if shutil.which("sbatch") is None:
                raise ConfigError(
                    ["cluster.launcher=slurm: sbatch is not on the PATH; is this a machine of the cluster?"]
                )
            self._code = self._frozen()
            self._packages, self._git = provenance.packages(), provenance.git()
            self._settings = self._ask_settings()
            done = [key for key, entry in self._entries.items() if entry.state == "done"]
            for array in arrange(batches(new.values()), self._graph, self._cluster, self._most_elements(), done):
                self._send(array)
        # Only now: what hangs on a job that is cancelled has been submitted anew.
        orphans.cancel(self._store, self._tell)
        return self._outcome

    def _frozen(self) -> Snapshot:
        try:
            frozen = snapshot.take(self._store.root, self._tell)
        except (snapshot.Unfit, NotOwn) as error:
            raise ConfigError([str(error)]) from None
        if loose := own.loose(self._store.root):
            self._tell(f"note: {loose}")
        return frozen

    def _ask_settings(self) -> dict[str, str]:
        try:
            return queue.settings()
        except Unanswered:
            return {}

    def _most_elements(self) -> int:
        try:
            return max(1, int(self._settings.get("MaxArraySize", MOST)) - 1)
        except ValueError:
            return MOST

    def _send(self, array: Array) -> None:
        """Claim and submit an array, as far as nobody else was faster."""
        held, lost = self._claim([node for batch in array.batches for node in batch])
        mine = [(batch, own) for batch in array.batches if (own := [held[n] for n in batch if n in held])]
        mine = [(batch, own) for batch, own in mine if not self._wait_in_vain(batch, own)]
        if mine:
            # Slurm may keep us waiting for longer than a claim lives by itself.
            with claims.Heart([(folder, claim) for _, own in mine for _, folder, claim in own]):
                self._send_claimed(array, mine)
        # Only now: whoever waits for another head's claim must hold none that this one may wait for.
        for node in lost:
            if not self._attach(node):
                self._send(Array([[node]], array.needs))

    def _send_claimed(self, array: Array, mine: list[tuple[list[Node], list[Held]]]) -> None:
        """Submit the batches of an array that are ours, with one call if what they wait for allows it."""
        after = [self._needed_jobs(batch) for batch, _ in mine]
        whole = len(mine) == len(array.batches)
        if array.follows is not None and whole and array.follows in self._intact:
            leader = self._intact[array.follows]
            common = {frozenset(job for job in jobs if not job.startswith(f"{leader}_")) for jobs in after}
            if len(common) == 1 and all(len(jobs) > len(*common) for jobs in after):
                self._sbatch([held for _, held in mine], array, [f"aftercorr:{leader}", *_after(common.pop())])
                return
        alike: dict[frozenset[str], list[list[Held]]] = {}
        for (_, held), jobs in zip(mine, after, strict=True):
            alike.setdefault(frozenset(jobs), []).append(held)
        for common_jobs, elements in alike.items():
            self._sbatch(elements, array, _after(common_jobs), intact=whole and len(alike) == 1)

    def _claim(self, nodes: list[Node]) -> tuple[dict[Node, Held], list[Node]]:
        """Claims for nodes, and the nodes that somebody else was faster with."""
        held: dict[Node, Held] = {}
        lost = []
        for node in nodes:
            try:
                folder = sharing.folder(
                    self._store.root, node.stage, self._store.job(node.stage, node.fingerprint).name
                )
                part.make(folder)
            except NotOwn as error:
                self._outcome.held_back.append(node)
                self._tell(f"{node.stage}/{node.label}: {error}; what needs it is not submitted yet")
                continue
            draft = Claim(token=claims.new_token(), launcher="slurm", cluster=self._settings.get("ClusterName"))
            entry = self._entries[node.fingerprint]
            taken = None if _is_revived(entry, folder) else claims.take(folder, draft, entry.claim)
            if taken is None:
                lost.append(node)
            else:
                held[node] = (node, folder, taken)
        self._store.refresh()
        return {node: each for node, each in held.items() if not self._published(*each)}, lost

    def _published(self, node: Node, folder: Path, claim: Claim) -> bool:
        """Whether a node was published between the plan and its claim, which then goes with its folder."""
        if self._store.find(node.stage, node.fingerprint) is None:
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return True

    def _attach(self, node: Node) -> bool:
        """Find the job of whoever has a node. False if nobody has it after all, and it is free to be claimed."""
        folder = self._store.job(node.stage, node.fingerprint)
        told = False
        while True:
            claim = claims.read(folder)
            locked = self._store.running(node.stage, node.fingerprint)
            stands = standing.of(folder, claim, standing.look([claim] if claim else []), locked=locked)
            if stands.state == "free":
                self._store.refresh()
                entry = self._entries[node.fingerprint]
                self._entries[node.fingerprint] = replace(entry, claim=claim, standing=stands)
                return self._store.find(node.stage, node.fingerprint) is not None
            if stands.job is not None and not stands.unsure and not stands.out_of_sight:
                self._jobs[node.fingerprint] = stands.job
                return True
            if claim is None or claim.launcher == "local" or stands.out_of_sight:
                self._outcome.held_back.append(node)
                self._tell(f"{node.stage}/{node.label}: {stands.reason}; what needs it is not submitted yet")
                return True
            if not told:
                told = True
                self._tell(f"{node.stage}/{node.label}: {stands.reason}; waiting for it")
            time.sleep(RECHECK)  # its head is about to write the job's id down

    def _wait_in_vain(self, batch: list[Node], held: list[Held]) -> bool:
        """Whether a batch waits for what is no job; its claims are given up then."""
        back = {node.fingerprint for node in self._outcome.held_back}
        if back.isdisjoint(need.fingerprint for node in batch for need in self._graph.waits_for(node)):
            return False
        for _, folder, claim in held:
            claims.release(folder, claim)
        self._outcome.held_back += batch
        return True

    def _needed_jobs(self, batch: list[Node]) -> list[str]:
        """The jobs that a batch waits for. Not those of what is published by now, which Slurm may have forgotten."""
        own = {node.fingerprint for node in batch}
        needs = [need for node in batch for need in self._graph.waits_for(node) if need.fingerprint not in own]
        missing = {need.fingerprint for need in needs if self._store.find(need.stage, need.fingerprint) is None}
        return sorted({self._jobs[need] for need in missing if need in self._jobs})

    def _sbatch(self, elements: list[list[Held]], array: Array, after: list[str], *, intact: bool = True) -> None:
        """Submit what is claimed as one job, or as one job array, in as many segments as its class says."""
        token, size = claims.new_token(), len(elements)
        held = []
        for index, element in enumerate(elements):
            for node, folder, claim in element:
                mine = replace(claim, token=token, index=index if size > 1 else None)
                claims.update(folder, mine)
                prepare(node, self._graph, self._store, array.needs, self._tracking)
                held.append((node, folder, mine))
        self._held += held
        folder = self._write_order(token, elements, array)
        stage = held[0][0].stage
        given = Submission(
            folder=folder,
            name=f"{_title(elements)}~{token}",
            size=size,
            ranks=array.needs.ranks(stage),
            after=",".join(after) or None,
            allocation=array.needs,
            code=self._code,
            grace=self._cluster.grace,
        )
        job = self._accepted(given, token, stage)
        for segment in range(1, array.needs.segments):
            job = self._accepted(replace(given, after=f"afterany:{job}", segment=segment), token, stage)
        self._write_down(job, elements, held)
        if intact and size > 1:
            self._intact[array] = job

    def _write_order(self, token: str, elements: list[list[Held]], array: Array) -> Path:
        tasks = [
            order.Task(folders=[str(folder) for _, folder, _ in element], log=str(log(element[0][0], self._store)))
            for element in elements
        ]
        folder = order.make(self._store.root, token)
        order.Order(
            token=token,
            tasks=tasks,
            root=str(self._code.folder),
            packages=self._packages,
            time=array.needs.time,
            git=self._git,
            servers=array.needs.servers(elements[0][0][0].stage),
        ).write(folder)
        return folder

    def _write_down(self, job: str, elements: list[list[Held]], held: list[Held]) -> None:
        """Note the job's id in the claims, and for what depends on it."""
        lost = []
        for node, folder, claim in held:
            id = job if claim.index is None else f"{job}_{claim.index}"
            self._jobs[node.fingerprint] = id
            self._outcome.jobs.setdefault(id, []).append(node)
            if claims.holds(folder, claim.token):
                claims.update(folder, replace(claim, job=id))
            elif folder.is_dir():
                lost.append(id)
        # Somebody took it over while this process was stopped; its jobs would find that out by themselves, but later.
        if lost:
            queue.try_cancel(lost)

    def _accepted(self, given: Submission, token: str, stage: str) -> str:
        """The id of a job that Slurm has taken; waits for room in its queue, and for an answer."""
        handed = Handing(given, token, self._tell)
        try:
            return handed.accepted()
        except Refused as error:
            self._take_back()
            raise ConfigError([f"cluster.stages.{stage}: Slurm refuses the job: {error}"]) from None
        except Unexplained as error:
            self._take_back()
            raise ConfigError([f"cluster.stages.{stage}: {error}"]) from None
        finally:
            self._outcome.calls += handed.calls

    def _take_back(self) -> None:
        """Leave nothing half submitted: cancel what this submission has submitted, and give its claims up."""
        with contextlib.suppress(Silent):
            tokens = {claim.token for _, _, claim in self._held}
            queue.try_cancel(entry.id for entry in queue_of_mine().entries if entry.token in tokens and not entry.ended)
        for _, folder, claim in self._held:
            claims.release(folder, claim)


def _is_revived(entry: Entry, folder: Path) -> bool:
    """Whether a claim that was dead for the plan was touched since: its job was on its way to Slurm all the time."""
    claim, stands = entry.claim, entry.standing
    if claim is None or claim.released or claim.launcher == "local" or stands.state != "free" or stands.ended:
        return False
    return claims.age(folder, claim) < LEASE


def _after(jobs: Iterable[str]) -> list[str]:
    """The dependency on the success of jobs."""
    ids = sorted(jobs)
    return [f"afterok:{':'.join(ids)}"] if ids else []


def _title(elements: list[list[Held]]) -> str:
    """What people see in squeue."""
    node = elements[0][0][0]
    return f"{node.stage}/{node.label}"[:100] if len(elements) == 1 else f"{node.stage} x{len(elements)}"
