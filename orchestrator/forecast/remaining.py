"""How long a study still takes: its nodes in the order in which the launcher would start them.

By the progress of what runs and `duration` of what does not; where that says nothing, by the median of the stage's
records in the store. It is rough, and ignores how long Slurm lets a job wait.
"""

from __future__ import annotations

import heapq
import math
import os
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from launch.job import Cluster
from orchestrator.command import Study
from orchestrator.forecast import outlook
from orchestrator.forecast.duration import RECENT
from orchestrator.graph import Node
from orchestrator.plan import Entry

#: Seconds that are shown, at most: a thousand years.
LONGEST = 3e10

#: fingerprint -> what a running node last reported.
Reports = Mapping[str, Mapping[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """Seconds until a study is done, but for `unknown` nodes of which nothing says how long they take."""

    seconds: float
    unknown: int

    def __str__(self) -> str:
        """`about 1:20:00 left`."""
        without = f", without {self.unknown} of unknown duration" if self.unknown else ""
        return f"about {timedelta(seconds=round(min(self.seconds, LONGEST)))} left{without}"


def left(entries: Iterable[Entry], study: Study, reports: Reports) -> Remaining | None:
    """What is left of a study; None if nothing is, or nothing is known. A node that failed is tried again."""
    entries = list(entries)
    open_ones = [entry for entry in entries if entry.state not in ("done", "blocked")]
    if not open_ones:
        return None
    found = {each.node.fingerprint: each.duration for each in outlook.make(entries, study).forecasts}
    usual: dict[str, float | None] = {}
    seconds: dict[str, float | None] = {}
    for entry in open_ones:
        key, stage = entry.node.fingerprint, entry.node.stage
        said, forecast = reports.get(key), found.get(key)
        if said and said["rate"]:
            seconds[key] = max(0, said["total"] - said["step"]) / said["rate"]
        elif forecast is not None:
            seconds[key] = forecast.seconds
        else:
            if stage not in usual:
                usual[stage] = _usual(stage, study)
            seconds[key] = usual[stage]
    known = {key: value for key, value in seconds.items() if value is not None}
    if not known:
        return None
    needs = {
        entry.node.fingerprint: {need.fingerprint for need in study.graph.waits_for(entry.node)} for entry in open_ones
    }
    total = end([entry.node for entry in open_ones], needs, known, study.cluster)
    return Remaining(seconds=total, unknown=len(open_ones) - len(known))


def end(nodes: Iterable[Node], needs: Mapping[str, set[str]], seconds: Mapping[str, float], cluster: Cluster) -> float:
    """When the last of these nodes ends, from 0, if each starts as soon as what it needs is there and there is room.

    Of what has no `seconds` it is assumed that it takes none.
    """
    waiting = list(nodes)
    pending = {node.fingerprint for node in waiting}
    cpus, gpus = _capacity(cluster)
    running: list[tuple[float, int, Node]] = []
    now = used_cpus = used_gpus = 0.0
    order = 0
    while waiting or running:
        for node in [node for node in waiting if pending.isdisjoint(needs[node.fingerprint])]:
            asked = cluster.needs(node.stage)
            if running and (used_cpus + asked.cpus > cpus or used_gpus + asked.gpus > gpus):
                continue
            waiting.remove(node)
            heapq.heappush(running, (now + seconds.get(node.fingerprint, 0.0), order, node))
            order, used_cpus, used_gpus = order + 1, used_cpus + asked.cpus, used_gpus + asked.gpus
        if not running:
            return now
        now, _, node = heapq.heappop(running)
        asked = cluster.needs(node.stage)
        used_cpus, used_gpus = used_cpus - asked.cpus, used_gpus - asked.gpus
        pending.discard(node.fingerprint)
    return now


def _capacity(cluster: Cluster) -> tuple[float, float]:
    """Cores and GPUs that jobs share; on Slurm there are always more, and inline they run one after the other."""
    if cluster.launcher == "slurm":
        return math.inf, math.inf
    if cluster.launcher == "inline":
        return 0, 0
    from launch.local import visible_gpus

    cpus = cluster.cpus or len(os.sched_getaffinity(0))
    return cpus, len(visible_gpus()) if cluster.gpus is None else cluster.gpus


def _usual(stage: str, study: Study) -> float | None:
    """The median of the seconds that the newest artifacts of a stage took; None if there are none."""
    taken = [record["seconds"] for _, record in study.store.recent(stage, RECENT) if record.get("seconds")]
    return statistics.median(taken) if taken else None
