"""The outlook of a plan: what is known of every node that is not done, before anything is spent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from launch.job import Cluster
from orchestrator.command import Study
from orchestrator.forecast import disk, memory, placement, rows, work
from orchestrator.forecast.checkpoint import Checkpoint, Checkpoints
from orchestrator.forecast.disk import Projection, Size
from orchestrator.forecast.duration import Duration, Durations
from orchestrator.forecast.load import Load, needed
from orchestrator.forecast.memory import Setting
from orchestrator.forecast.placement import Placement
from orchestrator.graph import Graph, Node
from orchestrator.plan import Entry
from stages import artifact
from stages.store import Store


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What is known of one node.

    Attributes:
        checkpoint: whose shape it has; None for a node that has nothing to do with a model.
        setting: None if the shape is not known.
        loads: of its GPUs.
        duration, size: None where they are not known.
    """

    entry: Entry
    place: Placement
    checkpoint: Checkpoint | None = None
    setting: Setting | None = None
    loads: tuple[Load, ...] = ()
    duration: Duration | None = None
    size: Size | None = None

    @property
    def node(self) -> Node:
        return self.entry.node


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Forecasts of the nodes that are not done, in the order of the plan, and of the store."""

    cluster: Cluster
    checkpoints: Checkpoints
    forecasts: tuple[Forecast, ...]
    projection: Projection

    @property
    def unknown(self) -> dict[str, str]:
        """The checkpoints whose shape is not known, and why."""
        roots = (each.checkpoint for each in self.forecasts if each.setting is None)
        return {root.name: root.unknown for root in roots if root is not None}

    @property
    def to_run(self) -> list[Forecast]:
        """Those that nobody is at: they would be run, or would be if nothing were missing."""
        return [each for each in self.forecasts if each.entry.open or each.entry.state == "blocked"]

    def stages(self) -> dict[str, list[Forecast]]:
        """The forecasts by stage, in the order of the plan."""
        found: dict[str, list[Forecast]] = {}
        for each in self.forecasts:
            found.setdefault(each.node.stage, []).append(each)
        return found


def make(entries: Iterable[Entry], study: Study) -> Outlook:
    """Look ahead. What is large or far away is read once, and remembered in the store, if there is one."""
    entries = list(entries)
    sight = _Sight(study)
    forecasts = tuple(sight.forecast(entry) for entry in entries if entry.state != "done")
    sizes = {each.node.fingerprint: each.size for each in forecasts if each.size is not None}
    for entry in entries:  # what has been published may have training state that goes
        if entry.state == "done" and entry.node.continues is not None:
            size = sight.forecast(entry).size
            sizes |= {entry.node.fingerprint: size} if size is not None else {}
    sight.checkpoints.remember()
    projection = disk.project(entries, study.graph, study.store, sizes, study.cluster)
    return Outlook(cluster=study.cluster, checkpoints=sight.checkpoints, forecasts=forecasts, projection=projection)


class _Sight:
    """What the nodes of a study have in common, looked at once."""

    def __init__(self, study: Study) -> None:
        self._graph: Graph = study.graph
        self._store: Store = study.store
        self._cluster = study.cluster
        self._places: dict[str, Placement] = {}
        self._counts: dict[str, int | None] = {}
        self._durations = Durations(study.store)
        self.checkpoints = Checkpoints(study.store)

    def forecast(self, entry: Entry) -> Forecast:
        """What is known of one node."""
        node = entry.node
        if node.stage not in self._places:
            self._places[node.stage] = placement.of(node.stage, self._cluster)
        place = self._places[node.stage]
        root = self.checkpoints.of(node)
        if root is None:  # tables alone
            return Forecast(entry=entry, place=place, size=Size(published=0, running=0, exact=False))
        if root.shape is None:
            return Forecast(entry=entry, place=place, checkpoint=root)
        needs = self._cluster.needs(node.stage)
        setting = Setting(config=node.config, shape=root.shape, needs=needs, place=place)
        count = self._count(node)
        made = work.of(node.stage, setting, count, self._continued(node))
        return Forecast(
            entry=entry,
            place=place,
            checkpoint=root,
            setting=setting,
            loads=tuple(memory.of(node.stage, setting)),
            duration=self._durations.of(node.stage, setting, needs, made),
            size=disk.of(node, root.shape, root.dtype, count),
        )

    def _count(self, node: Node) -> int | None:
        """Rows of what a node is trained or evaluated on."""
        given = node.inputs.get("demonstrations", node.inputs.get("benchmark"))
        if given is None or node.stage not in ("sft", "evaluate"):
            return None
        if given.fingerprint not in self._counts:
            self._counts[given.fingerprint] = rows.count(given, self._store)
        return self._counts[given.fingerprint]

    def _continued(self, node: Node) -> int:
        """The epochs of the run that a node will continue: one of this graph, or one that is published."""
        name = node.continues
        if name is None:
            return 0
        planned: list[int] = [each.config[name] for each in self._graph.waits_for(node) if each.stage == node.stage]
        return max([0, *planned, *self._published(node)])

    def _published(self, node: Node) -> Iterator[int]:
        for value, fingerprint in self._graph.shorter(node):
            folder = self._store.find(node.stage, fingerprint)
            if folder is not None and (folder / artifact.STATE).is_dir():
                yield value
                return


def as_json(outlook: Outlook) -> dict[str, Any]:
    """The outlook for scripts; bytes, seconds and hours, null where something is not known."""
    projection = outlook.projection
    return {
        "nodes": {each.node.fingerprint: _node_as_json(each) for each in outlook.forecasts},
        "unknown": outlook.unknown,
        "gpu_hours": gpu_hours(outlook.forecasts)[0],
        "disk": {
            "published": projection.published,
            "peak": projection.least,
            "peak_side_by_side": projection.most,
            "free": projection.free,
        },
    }


def gpu_hours(forecasts: Iterable[Forecast]) -> tuple[float, int]:
    """GPU hours of those whose duration is known, and how many there are with GPUs of which it is not."""
    on_gpus = [each for each in forecasts if each.place.held]
    known = [each.duration.gpu_hours for each in on_gpus if each.duration is not None]
    return math.fsum(known), len(on_gpus) - len(known)


def _node_as_json(each: Forecast) -> dict[str, Any]:
    parameters = each.setting.shape.parameters if each.setting else None
    loads = [
        {"where": load.where, "share": load.share, "parts": [asdict(p) for p in load.parts]} for load in each.loads
    ]
    return {
        "parameters": parameters,
        "processes": each.place.world,
        "gpus": each.place.held,
        "gpu_memory": needed(list(each.loads)) if each.loads else None,
        "loads": loads,
        "duration": asdict(each.duration) if each.duration else None,
        "disk": asdict(each.size) if each.size else None,
    }
