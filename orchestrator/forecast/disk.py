"""Disk: what each node needs while it runs and what it leaves, and how a store grows by them, one after the other.

P parameters of b bytes. Small files (records, tables, logs, diagnoses) are left out.

    sft         a checkpoint b P with its training state, Adam's moments 2 b P. While it runs two of both: a new one is
                complete before the old one goes. What it publishes are links to the last one; the state goes once a
                longer run of the recipe has been published
    grpo        the same, without the state in the end
    pretrain    b P, two times 3 b P while it runs
    rejuvenate  b P, as its checkpoint
    attribute   12 bytes a neuron that is kept of a target, at most
    evaluate    4 bytes a token of answers that are all as long as they may be, at most; three times that while it runs.
                A quarter of it, a byte a token, is counted as sure: answers end earlier, and their text is packed
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch.job import Cluster
from launch.local import visible_gpus
from orchestrator import volume
from orchestrator.forecast.shape import BYTES, Shape
from orchestrator.graph import Graph, Node
from orchestrator.plan import Entry
from orchestrator.sources import Source
from stages import artifact
from stages.store import Store

#: Bytes of a neuron that attribution keeps for a target, and of a generated token.
_KEPT, _TOKEN = 12, 4


@dataclass(frozen=True, kw_only=True)
class Size:
    """Bytes of a node in the store.

    Attributes:
        published: of its artifact.
        state: of those, training state that goes when a longer run has been published.
        running: of its folder, at most, while it runs, with what it will publish.
        exact: whether they are known, or a bound.
        sure: of a bound, what is counted as needed all the same.
    """

    published: float
    state: float = 0.0
    running: float
    exact: bool = True
    sure: float = 0.0

    def needed(self, *, exactly: bool) -> tuple[float, float]:
        """What it leaves, and takes while it runs: at most, or `exactly`, as far as that is known."""
        return (self.published, self.running) if self.exact or not exactly else (self.sure, self.sure)


@dataclass(frozen=True, kw_only=True)
class Projection:
    """How a store grows by a plan, in bytes.

    Attributes:
        published: in the end.
        least: at the moment when it is largest, if one job runs at a time; without what is a bound only.
        most: the same, if as many run side by side as there is room for.
        running: of `least`, what runs then.
        at: what runs when it is `least`, and when it is `most`.
        free: on the volume of the store.
        unknown: nodes whose size is not known.
    """

    published: float = 0.0
    least: float = 0.0
    most: float = 0.0
    running: float = 0.0
    at: tuple[Node | None, list[Node]] = (None, [])
    free: float = math.inf
    unknown: int = 0


def of(node: Node, shape: Shape, dtype: str | None, rows: int | None) -> Size | None:
    """The size of a node; `dtype` is of the weights at the root of its chain, `rows` are those of its benchmark."""
    config = node.config
    if node.stage in ("sft", "grpo", "pretrain", "rejuvenate"):
        return _of_checkpoint(node, shape, dtype)
    if node.stage == "attribute":
        targets = shape.positions if config["targets"] == "all" else config["targets_per_sample"]
        held = _KEPT * config["samples"] * targets * math.ceil(config["keep"] * shape.neurons)
        return Size(published=held, running=held, exact=False)
    if node.stage == "evaluate":
        problems = config["problems"] or rows
        if problems is None:
            return None
        held = _TOKEN * problems * config["k"] * config["max_new_tokens"]
        return Size(published=held, running=3 * held, exact=False, sure=held / _TOKEN)
    return Size(published=0, running=0, exact=False)


def free(root: Path) -> tuple[Path, float]:
    """The folder, of a store or above it, that is there; and the bytes that its volume has left."""
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    return there, float(shutil.disk_usage(there).free)


def project(
    entries: Iterable[Entry], graph: Graph, store: Store, sizes: Mapping[str, Size], cluster: Cluster
) -> Projection:
    """The growth of the store, in the order of the graph; nodes without a size add nothing to it."""
    entries = list(entries)
    left = [entry.node for entry in entries if entry.state != "done"]
    disk = _Disk(graph, sizes, _published_state(entries, sizes), _there(left, store))
    one = disk.grown([[node] for node in left], exactly=True)
    several = disk.grown(_waves(left, graph, cluster), exactly=False)
    return Projection(
        published=several.published,
        least=one.peak,
        most=several.peak,
        running=one.running,
        at=(one.at[0] if one.at else None, several.at),
        free=free(store.root)[1],
        unknown=sum(node.fingerprint not in sizes for node in left),
    )


@dataclass
class _Grown:
    published: float = 0.0
    peak: float = 0.0
    running: float = 0.0
    at: list[Node] = field(default_factory=list)


@dataclass(frozen=True)
class _Disk:
    """What changes with every node: its size, the state of shorter runs that it frees, what is there of it already."""

    graph: Graph
    sizes: Mapping[str, Size]
    state: dict[str, float]
    there: Mapping[str, float]

    def grown(self, waves: Iterable[list[Node]], *, exactly: bool) -> _Grown:
        """What is published by waves of nodes that run side by side, and the largest moment on the way."""
        found, state = _Grown(), dict(self.state)
        for wave in waves:
            known = [(node, size) for node in wave if (size := self.sizes.get(node.fingerprint)) is not None]
            counted = [(node, size, size.needed(exactly=exactly)) for node, size in known]
            counted = [each for each in counted if any(each[2])]
            running = sum(max(0.0, needs[1] - self.there.get(node.fingerprint, 0.0)) for node, _, needs in counted)
            if found.published + running > found.peak:
                found.peak, found.running = found.published + running, running
                found.at = [node for node, _, _ in counted]
            for node, size, needs in counted:
                found.published += needs[0] - self.there.get(node.fingerprint, 0.0)
                for shorter in self.graph.waits_for(node):
                    if shorter.stage == node.stage and node.continues is not None:
                        found.published -= state.pop(shorter.fingerprint, 0.0)
                state[node.fingerprint] = size.state
        return found


def _waves(left: list[Node], graph: Graph, cluster: Cluster) -> Iterator[list[Node]]:
    """Nodes that may run side by side: all that are ready, as far as there is room on this machine."""
    keys = {node.fingerprint for node in left}
    open_needs = {
        node.fingerprint: {need.fingerprint for need in graph.waits_for(node) if need.fingerprint in keys}
        for node in left
    }
    followers: dict[str, list[Node]] = {}
    for node in left:
        for need in open_needs[node.fingerprint]:
            followers.setdefault(need, []).append(node)
    ready = [node for node in left if not open_needs[node.fingerprint]]
    cpus = cluster.cpus or len(os.sched_getaffinity(0))
    gpus = cluster.gpus if cluster.gpus is not None else len(visible_gpus())
    while ready:
        wave, ready = _room(ready, cluster, cpus, gpus)
        yield wave
        for node in wave:
            for follower in followers.get(node.fingerprint, ()):
                open_needs[follower.fingerprint].discard(node.fingerprint)
                if not open_needs[follower.fingerprint]:
                    ready.append(follower)


def _room(ready: list[Node], cluster: Cluster, cpus: int, gpus: int) -> tuple[list[Node], list[Node]]:
    """The nodes for which there is room at once, on so many cores and GPUs of this machine, and the others."""
    if cluster.launcher == "slurm":
        return ready, []
    if cluster.launcher == "inline":
        return ready[:1], ready[1:]
    wave: list[Node] = []
    waiting: list[Node] = []
    for node in ready:
        needs = cluster.needs(node.stage)
        if wave and (needs.cpus > cpus or needs.gpus > gpus):
            waiting.append(node)
        else:
            wave.append(node)
            cpus, gpus = cpus - needs.cpus, gpus - needs.gpus
    return wave, waiting


def _published_state(entries: Iterable[Entry], sizes: Mapping[str, Size]) -> dict[str, float]:
    """Training state of what is published already, by fingerprint."""
    return {
        entry.node.fingerprint: sizes[entry.node.fingerprint].state
        for entry in entries
        if entry.state == "done" and entry.node.fingerprint in sizes and (entry.path / artifact.STATE).is_dir()
    }


def _there(left: Iterable[Node], store: Store) -> dict[str, float]:
    """What unfinished nodes have on the disk already, by fingerprint."""
    return {
        node.fingerprint: float(volume.size(store.job(node.stage, node.fingerprint)))
        for node in left
        if store.unfinished(node.stage, node.fingerprint)
    }


def _of_checkpoint(node: Node, shape: Shape, dtype: str | None) -> Size:
    """A checkpoint of a stage, in the dtype that its config or its chain says."""
    model = BYTES[_dtype(node) or dtype or "float32"] * shape.parameters
    if node.stage == "rejuvenate":
        return Size(published=model, running=model)
    saved = 3 * model  # with Adam's moments
    if node.stage == "sft":
        return Size(published=saved, state=2 * model, running=2 * saved)
    return Size(published=model, running=2 * saved + (model if node.stage == "pretrain" else 0))


def _dtype(node: Node) -> str | None:
    """The dtype of the weights that a node makes; None for that of the root of its chain."""
    given: Node | Source = node
    while isinstance(given, Node) and given.stage == "rejuvenate":
        given = given.inputs["checkpoint"]
    if not isinstance(given, Node):
        return None
    if given.stage == "pretrain":
        return "float32"
    found: Any = given.config.get("dtype")
    return found if found in BYTES else None
