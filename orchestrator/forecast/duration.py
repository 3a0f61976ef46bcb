"""How long a node takes: by records of its stage, scaled by their work, else by the work and the speed of the GPUs.

A record counts if it was made in one attempt, with as many GPUs and placed alike, or without GPUs on as many cores.
Both are rough: by the speed within a factor of two or so, if the assumptions in `work` hold.
"""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from launch.job import Allocation
from orchestrator.forecast import shape, work
from orchestrator.forecast.checkpoint import MODELS
from orchestrator.forecast.memory import Setting
from orchestrator.forecast.placement import Placement
from orchestrator.forecast.shape import Shape
from orchestrator.forecast.work import GENERATING, UTILISATION, Work
from stages import jsonfile
from stages.contract import Resources
from stages.store import Store

#: Records of a stage that are looked at, the newest.
RECENT = 32

#: Fields of a record's resources that have to be the node's.
_ALIKE = ("gpus", "sharding", "rollouts", "rollout_gpus", "tensor_parallel")


@dataclass(frozen=True, kw_only=True)
class Duration:
    """Seconds of a job, and hours of all GPUs that it holds meanwhile.

    `most`: whether it may be less; `by`: what says so.
    """

    seconds: float
    gpu_hours: float
    most: bool
    by: str


class Durations:
    """Durations of the nodes of a study; the records of a stage are read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._past: dict[str, list[tuple[Resources, float]]] = {}

    def of(self, stage: str, setting: Setting, needs: Allocation, given: Work | None) -> Duration | None:
        """How long a node of this work takes; None if nothing says so."""
        if given is None:
            return None
        alike = [rate for resources, rate in self._rates(stage) if _alike(resources, setting.needs)]
        if alike:
            seconds = given.weighed / statistics.median(alike)
            return _lasting(seconds, setting.place, given.most, f"{len(alike)} record{'s' if len(alike) > 1 else ''}")
        return by_speed(stage, setting.place, needs, given)

    def _rates(self, stage: str) -> list[tuple[Resources, float]]:
        """Weighed operations a second of the stage's records."""
        if stage not in self._past:
            found = [_rate(folder, record) for folder, record in self._store.recent(stage, RECENT)]
            self._past[stage] = [each for each in found if each is not None]
        return self._past[stage]


def by_speed(stage: str, place: Placement, needs: Allocation, given: Work) -> Duration | None:
    """The duration at the assumed shares of the GPUs' rate; None if that, or a GPU, is not there."""
    if needs.gpu_tflops is None or place.held == 0:
        return None
    rate = needs.gpu_tflops * 1e12
    # attribute and diagnose put a model's layers on all GPUs, which then work one after the other
    working = 1 if stage in ("attribute", "diagnose") else place.machines * place.gpus
    seconds = given.dense / (working * rate * UTILISATION)
    seconds += given.generated / ((place.server or working) * rate * GENERATING)
    shares = f"{UTILISATION:.0%} of {needs.gpu_tflops:g} TFLOP/s" + (
        f", {GENERATING:.0%} to generate" if given.generated else ""
    )
    return _lasting(seconds, place, given.most, shares)


def _lasting(seconds: float, place: Placement, most: bool, by: str) -> Duration:
    return Duration(seconds=seconds, gpu_hours=seconds * place.held / 3600, most=most, by=by)


def _alike(past: Resources, now: Resources) -> bool:
    names = _ALIKE if now.gpus else (*_ALIKE, "cpus")
    return all(getattr(past, name) == getattr(now, name) for name in names)


def _rate(folder: Path, record: Mapping[str, Any]) -> tuple[Resources, float] | None:
    """The resources of a record and its operations a second; None if they cannot be told."""
    known = {field.name for field in fields(Resources)}
    if record.get("attempts") != 1 or not record.get("seconds") or not record.get("resources", {}).keys() <= known:
        return None
    found = _shape(folder, record)
    if found is None:
        return None
    summary, before = record["summary"], record.get("continued_from")
    rows = summary.get("rows", summary.get("n"))
    try:
        resources = Resources(**record["resources"])
        place = Placement(machines=1, ranks=max(1, resources.gpus), gpus=resources.gpus)
        setting = Setting(config=record["config"], shape=found, needs=resources, place=place)
        made = work.of(record["identity"]["stage"], setting, rows, before["value"] if before else 0)
        rate = 0.0 if made is None else made.weighed / record["seconds"]
    except (LookupError, TypeError, ValueError, ArithmeticError):  # of another version of the stage, or spoilt
        return None
    return (resources, rate) if rate > 0 and math.isfinite(rate) else None


def _shape(folder: Path, record: Mapping[str, Any]) -> Shape | None:
    """The shape of the model that a record is of: the one that was made, or the one that was read."""
    read = (record["inputs"].get(kind, {}).get("path") for kind in MODELS)
    for place in [folder, *(Path(path) for path in read if path)]:
        for file in (place / "model" / "config.json", place / "config.json"):
            if os.path.isfile(file) and (said := jsonfile.object_in(file)):
                return shape.of_config(said)
    return None
