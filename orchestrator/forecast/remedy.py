"""Other resources with which a node would fit into its GPUs: tried one by one, then two and three together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from launch.job import Allocation, Cluster
from orchestrator.forecast import memory, placement
from orchestrator.forecast.load import GB, needed
from orchestrator.forecast.memory import Setting
from stages import contract

#: GPUs of a machine, and machines, that are proposed.
_GPUS, _MACHINES = (2, 4, 8), (2, 4, 8)
#: Changes that are named at most, and that one of them consists of.
_NAMED, _TOGETHER = 4, 3

Change = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Remedy:
    """Fields of an allocation that differ, and the GPU memory, in GB, with which that fits."""

    change: Change
    needed: float


def of(stage: str, setting: Setting, cluster: Cluster, gpu_memory: float) -> list[Remedy]:
    """The smallest changes to what a stage asks for with which a node fits GPUs of so many GB; perhaps none."""
    needs = cluster.needs(stage)
    kinds = [list(kind) for kind in _changes(stage, setting, needs, cluster, gpu_memory)]
    for together in range(1, _TOGETHER + 1):
        found = []
        for chosen in itertools.combinations(kinds, together):
            for changes in itertools.product(*chosen):  # the gentlest of each kind first
                change = {field: value for each in changes for field, value in each.items()}
                most = _needed(stage, setting, cluster, change)
                if most is not None and most <= gpu_memory:
                    found.append(Remedy(change=change, needed=most))
                    break
        if found:
            return found[:_NAMED]
    return []


def _needed(stage: str, setting: Setting, cluster: Cluster, change: Change) -> float | None:
    """GPU memory after a change; None if the node cannot run so at all."""
    needs = replace(cluster.needs(stage), **change)
    place = placement.of(stage, cluster, needs)
    module = contract.load(stage)
    if hasattr(module, "fits") and module.fits(module.Config(**setting.config), needs.seen, place.world):
        return None
    if needs.gpus % needs.tensor_parallel or needs.rollout_gpus % needs.tensor_parallel:
        return None
    return needed(memory.of(stage, replace(setting, needs=needs, place=place)))


def _changes(
    stage: str, setting: Setting, needs: Allocation, cluster: Cluster, gpu_memory: float
) -> Iterator[Iterator[Change]]:
    """The kinds of change that a stage knows, each from the gentlest on."""
    if stage in ("sft", "grpo"):
        if needs.sharding == "none" and setting.place.world > 1:
            yield iter([{"sharding": "fsdp2"}])
        if not memory.recomputes(setting):
            yield iter([{"checkpointing": True}])
    if stage == "grpo" and setting.config["engine"] == "vllm":
        yield from _of_engine(setting, needs, gpu_memory)
    if stage in ("sft", "grpo", "attribute", "diagnose") or setting.config.get("engine") == "transformers":
        yield ({"per_device_batch": needs.per_device_batch >> n} for n in range(1, needs.per_device_batch.bit_length()))
    most = setting.place.gpus if cluster.launcher != "slurm" else max(_GPUS)
    if stage == "evaluate" and setting.config["engine"] == "vllm":
        yield ({"tensor_parallel": n} for n in _GPUS if needs.tensor_parallel < n <= needs.gpus)
        yield ({"gpus": n, "tensor_parallel": n} for n in _GPUS if needs.gpus < n <= most)
    elif stage in ("attribute", "diagnose"):
        yield ({"gpus": n} for n in _GPUS if needs.gpus < n <= most)
    elif stage in ("sft", "grpo"):
        yield ({"gpus": n, "sharding": "fsdp2"} for n in _GPUS if needs.gpus < n <= most)
        if cluster.launcher == "slurm":
            yield ({"nodes": n, "sharding": "fsdp2"} for n in _MACHINES if needs.nodes < n)


def _of_engine(setting: Setting, needs: Allocation, gpu_memory: float) -> Iterator[Iterator[Change]]:
    """What can be done about the engine of the rollouts."""
    if needs.rollouts == "server":
        yield ({"tensor_parallel": n} for n in _GPUS if n > needs.tensor_parallel)
        return
    if not needs.sleep:
        yield iter([{"sleep": True}])
    (engine,) = (load for load in memory.of("grpo", setting) if load.share == needs.engine_memory and load.room)
    share = math.ceil(20 * engine.bytes / GB / gpu_memory) / 20
    if share < 1 and share != needs.engine_memory:
        yield iter([{"engine_memory": share}])
    yield ({"rollouts": "server", "rollout_gpus": n} for n in (1, *_GPUS) if n < needs.gpus)
