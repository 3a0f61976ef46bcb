"""Notifying from the head: it begins the notice of a study, and sends what there is to say for as long as it stays.

What is done with REJUVENATION_WEBHOOK, and who else sends, is in `launch.notice`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from launch import failure, notice, webhook
from launch.notice import Ends, Member, Notice, Study
from launch.webhook import PATIENCE, Sending, Unusable
from orchestrator import hint, runs
from orchestrator.command import Command
from orchestrator.command import Study as Studied
from orchestrator.graph import Graph, Node
from orchestrator.plan import Entry
from orchestrator.refusal import ConfigError
from orchestrator.run import Run
from stages.store import Store


def check() -> None:
    """Refuse a URL that is none, before anything is spent.

    Raises:
        ConfigError: without the URL, which is a secret.
    """
    try:
        webhook.url()
    except Unusable as error:
        raise ConfigError([str(error)]) from None


class Head:
    """The notices of a head. Without a URL, or for a batch of a search, which is no study's end, it does nothing."""

    def __init__(self, study: Studied, entries: Sequence[Entry], command: Command) -> None:
        self._store = study.store
        self._sending = Sending()
        self._notice: Notice | None = None
        self._begun = False
        if webhook.url() is not None and command.shows and any(entry.state != "done" for entry in entries):
            folder = _folder(study, entries, command)
            about = describe(study.graph, study.store, study.experiment.name, command)
            about.write(folder)
            self._notice = Notice(folder, about, self._sending, waits=PATIENCE + 1)

    def failed(self, found: Ends) -> None:
        """Say once that something failed."""
        if self._notice is not None and found.failed and not self._begun:
            self._begun = True
            self._notice.failed(found)

    def ended(self, found: Ends, reason: str = "") -> None:
        """Say that the study is over, and wait until that is sent, or cannot be."""
        self.failed(found)
        if self._notice is not None:
            self._notice.ended(found, reason)
            self._sending.finish(2 * PATIENCE + 2)

    def watching(self, look: Callable[[list[Entry]], None] = lambda entries: None) -> Callable[[list[Entry]], None]:
        """What is shown every plan of a study on Slurm: says if something failed, then does what `look` does."""

        def see(entries: list[Entry]) -> None:
            self.failed(of_entries(entries, self._store))
            look(entries)

        return see


def describe(graph: Graph, store: Store, experiment: str, command: Command) -> Study:
    """A study as a notice has it, with what of it has failed before."""
    nodes = list(graph.nodes.values())
    members = [_member(node, nodes, graph, store) for node in nodes]
    reads = [str(each.root) for each in store.reads]
    return Study(experiment=experiment, words=hint.words(command), nodes=members, reads=reads)


def of_run(running: Run) -> Ends:
    """What became of the nodes of a run on this machine so far."""
    done, of = running.counts
    nodes = list(running.graph.nodes.values())
    failed = {hint.name(node, nodes): "; ".join(why) for node, why, _ in running.outcome.failed.values()}
    blocked = len(running.outcome.blocked)
    return Ends(done=done, failed=failed, blocked=blocked, open=of - done - len(failed) - blocked)


def of_entries(entries: Iterable[Entry], store: Store) -> Ends:
    """What became of the nodes of a plan on Slurm, as its head sees it: also of those whose job was killed.

    While something is in flight, a failure is one that left a reason; the head submits again what was lost.
    """
    entries = list(entries)
    nodes = [entry.node for entry in entries]
    flying = sum(entry.in_flight for entry in entries)
    gone = [
        entry
        for entry in entries
        if entry.state == "failed"
        and (not flying or failure.for_good(store.attempt(entry.node.stage, entry.node.fingerprint)))
    ]
    failed = {hint.name(entry.node, nodes): entry.reason for entry in gone}
    done = sum(entry.state == "done" for entry in entries)
    return Ends(done=done, failed=failed, blocked=len(entries) - done - len(failed) - flying, open=flying)


def _member(node: Node, among: Sequence[Node], graph: Graph, store: Store) -> Member:
    return Member(
        name=hint.name(node, among),
        stage=node.stage,
        fingerprint=node.fingerprint,
        needs=[need.fingerprint for need in graph.waits_for(node)],
        stale=notice.failed_at(store.attempt(node.stage, node.fingerprint)),
    )


def _folder(study: Studied, entries: Sequence[Entry], command: Command) -> Path:
    """The folder of the notice: the one there is while something of the study is in flight, else a new one."""
    place = notice.folder_of(study.store)
    name = runs.name(study.experiment.name, command.overrides)
    before = sorted(place.glob(f"{name}-[0-9]*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    if before and any(entry.in_flight for entry in entries):
        return before[-1]
    for folder in before:
        shutil.rmtree(folder, ignore_errors=True)
    number = int(before[-1].name.rpartition("-")[2]) + 1 if before else 1
    return place / f"{name}-{number}"
