"""What would make a node fit: every proposal is computed, none is a guess."""

from __future__ import annotations

from typing import Any

import pytest

from launch.job import Allocation, Cluster
from orchestrator.forecast import placement, remedy
from orchestrator.forecast.memory import Setting
from tests.orchestrator.forecast import paper
from tests.orchestrator.forecast.paper import EVOLM
from tests.orchestrator.forecast.test_shape import of


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return paper.recipe()


def proposed(recipe: dict[str, Any], stage: str, memory: float, launcher: str = "slurm", **needs: Any) -> list[str]:
    allocation = Allocation(**{"per_device_batch": 8, **needs})
    cluster = Cluster(launcher=launcher, gpus=8, default=allocation, stages={})
    place = placement.of(stage, cluster)
    setting = Setting(config=recipe[stage], shape=of(EVOLM), needs=allocation, place=place)
    return [
        f"{' '.join(f'{field}={value}' for field, value in each.change.items())} ({each.needed:.1f})"
        for each in remedy.of(stage, setting, cluster, memory)
    ]


def test_eight_gpus_that_share_nothing_share_it(recipe: dict[str, Any]) -> None:
    assert proposed(recipe, "sft", 80, gpus=8) == ["sharding=fsdp2 (38.2)", "nodes=2 sharding=fsdp2 (34.2)"]


def test_without_recomputation(recipe: dict[str, Any]) -> None:
    needs = {"gpus": 8, "sharding": "fsdp2", "checkpointing": False}
    assert proposed(recipe, "sft", 80, **needs) == [
        "checkpointing=True (38.2)",
        "per_device_batch=4 (66.7)",
        "nodes=8 sharding=fsdp2 (43.7)",  # of 256 sequences, 64 processes have 4 each
    ]


def test_the_largest_micro_batch_that_fits(recipe: dict[str, Any]) -> None:
    # one GPU cannot hold 4P + 8P + 4P + 2P = 72 GB and 8 sequences, but two of them
    assert proposed(recipe, "sft", 80, gpus=1)[0] == "per_device_batch=2 (78.5)"


def test_an_engine_sleeps_or_gets_what_it_needs_or_gpus_of_its_own(recipe: dict[str, Any]) -> None:
    # on 60 GB a step needs 37.8, and an engine with half of them leaves 30; it needs 9.6
    needs = {"gpus": 8, "sharding": "fsdp2", "engine_memory": 0.5}
    assert proposed(recipe, "grpo", 60, **needs) == [
        "sleep=True (37.8)",
        "engine_memory=0.2 (47.9)",
        "rollouts=server rollout_gpus=4 (47.8)",
    ]


def test_an_engine_that_is_too_small_gets_more(recipe: dict[str, Any]) -> None:
    # 9.6 GB are a quarter of 40; then a step has no room unless the engine sleeps
    needs = {"gpus": 8, "sharding": "fsdp2", "engine_memory": 0.2}
    assert proposed(recipe, "grpo", 40, **needs)[0] == "sleep=True engine_memory=0.25 (38.4)"


def test_a_model_that_is_too_large_for_a_gpu_is_cut(recipe: dict[str, Any]) -> None:
    assert proposed(recipe, "evaluate", 8, gpus=1) == ["gpus=2 tensor_parallel=2 (6.0)"]
    assert proposed(recipe, "evaluate", 8, gpus=4) == ["tensor_parallel=2 (6.0)", "gpus=8 tensor_parallel=8 (2.7)"]
    assert "gpus=2 (20.0)" in proposed(recipe, "attribute", 24, gpus=1)


def test_nothing_helps(recipe: dict[str, Any]) -> None:
    assert proposed(recipe, "sft", 2, gpus=8) == []
    assert proposed(recipe, "evaluate", 8, launcher="local", gpus=1) == []
