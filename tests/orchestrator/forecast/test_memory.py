"""GPU memory of every stage: EvoLM-4B with the paper's recipe on GPUs of 80 GB."""

from __future__ import annotations

from typing import Any

import pytest

from launch.job import Allocation, Cluster
from orchestrator import config
from orchestrator.forecast import memory, placement
from orchestrator.forecast.load import Load, needed
from orchestrator.forecast.memory import Setting
from tests.orchestrator.forecast import paper
from tests.orchestrator.forecast.paper import EVOLM, P
from tests.orchestrator.forecast.test_shape import of


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    """The paper's mathematics study."""
    return paper.recipe()


def loads(recipe: dict[str, Any], stage: str, chosen: dict[str, Any] | None = None, **needs: Any) -> list[Load]:
    allocation = Allocation(**{"per_device_batch": 8, **needs})
    cluster = Cluster(launcher="slurm", default=allocation, stages={})
    place = placement.of(stage, cluster)
    fields = {**recipe[stage], **(chosen or {})}
    return memory.of(stage, Setting(config=fields, shape=of(EVOLM), needs=allocation, place=place))


def gigabytes(found: list[Load]) -> dict[str, float]:
    """Of the GPU that each needs."""
    return {load.where: round(load.needed, 1) for load in found}


EIGHT: dict[str, Any] = {"gpus": 8, "sharding": "fsdp2"}


@pytest.mark.parametrize(
    ("stage", "needs", "expected"),
    [
        # at the start all weights, 4P = 16.0, and the part that stays, 4P/8 = 2.0. In a step 4P/8 + 8P/8 + 4P/8 = 8.0,
        # gradients of four micro-batches before they are reduced 4P = 16.0, gathered 1.9, activations 9.2, head 1.2
        ("sft", EIGHT, {"each GPU, at the start": 20.0, "each GPU, in a step": 38.2}),
        # policy and reference 8P = 32.0 at the start, and 4P/8 = 2.0 in a step; the engine leaves 0.7 of the GPU
        (
            "grpo",
            EIGHT,
            {
                "each training GPU, at the start": 48.6,
                "each training GPU, in a step": 54.0,
                "the engine on each GPU": 32.0,
            },
        ),
        (
            "grpo",
            {**EIGHT, "sleep": True},
            {
                "each training GPU, when the engine starts": 25.7,  # 4P + 2.0 in 0.7 of it
                "each training GPU, at the start": 34.0,
                "each training GPU, in a step": 37.8,
                "each training GPU, in the rollouts": 15.0,
                "the engine on each GPU": 32.0,
            },
        ),
        (
            "grpo",
            # half of them are the server's: 16P/4 = 16.0 and the reference's 4P/4 = 4.0 on each of the others
            {**EIGHT, "rollouts": "server", "rollout_gpus": 4},
            {
                "each training GPU, at the start": 34.0,
                "each training GPU, in a step": 47.8,
                "each GPU of the rollout server": 10.5,
            },
        ),
        # one GPU: 4P + 8P + 4P = 64.0 alone
        ("sft", {"gpus": 1}, {"each GPU, in a step": 89.5}),
        ("evaluate", {"gpus": 1}, {"each GPU of the engine": 10.5}),
        ("evaluate", {"gpus": 2, "tensor_parallel": 2}, {"each GPU of the engine": 6.0}),
        ("attribute", {"gpus": 1}, {"each GPU": 28.0}),
        ("diagnose", {"gpus": 1}, {"each GPU": 21.6}),
    ],
)
def test_evolm(recipe: dict[str, Any], stage: str, needs: dict[str, Any], expected: dict[str, float]) -> None:
    assert gigabytes(loads(recipe, stage, **needs)) == expected


def test_the_arithmetic_is_shown(recipe: dict[str, Any]) -> None:
    _, step = loads(recipe, "sft", **EIGHT)
    exact = [str(part) for part in step.parts if part.exact]
    assert exact == [
        "master weights 4P / 8 = 2.00",
        "Adam's moments 8P / 8 = 4.00",
        "gradients 4P / 8 = 2.00",
        "gradients that are not reduced yet 4P = 16.00",
    ]


def test_an_engine_holds_weights_and_at_least_one_sequence(recipe: dict[str, Any]) -> None:
    (engine,) = loads(recipe, "evaluate", gpus=1)
    parts = {part.what: part.bytes for part in engine.parts}
    assert (parts["weights"], parts["KV cache of one sequence"]) == (2 * P, 2048 * 57_344)
    assert engine.fits(10.5) and not engine.fits(10.4)
    assert engine.share == 0.92


@pytest.mark.slow
def test_the_share_that_vllm_takes_by_itself() -> None:
    from vllm.config import CacheConfig

    from orchestrator.forecast.engine import VLLM_SHARE

    assert CacheConfig().gpu_memory_utilization == VLLM_SHARE


def test_without_a_kl_term_there_is_no_reference(recipe: dict[str, Any]) -> None:
    held = {part.what for load in loads(recipe, "grpo", {"beta": 0.0}, **EIGHT) for part in load.parts}
    assert "reference" not in held


def test_rollouts_by_transformers_hold_a_batch_of_rows(recipe: dict[str, Any]) -> None:
    _, rollouts = loads(recipe, "grpo", {"engine": "transformers"}, gpus=1)
    cache = next(part for part in rollouts.parts if part.what == "KV cache")
    assert cache.bytes == 8 * 1536 * 57_344


def test_one_micro_batch_a_step_is_reduced_at_once(recipe: dict[str, Any]) -> None:
    held = {part.what for load in loads(recipe, "sft", {"batch": 64}, **EIGHT) for part in load.parts}
    assert "gradients that are not reduced yet" not in held


def test_a_smaller_micro_batch_needs_less(recipe: dict[str, Any]) -> None:
    assert needed(loads(recipe, "sft", gpus=1, per_device_batch=1)) < 80 < needed(loads(recipe, "sft", gpus=1))


def test_what_is_on_no_gpu_needs_none_of_it(recipe: dict[str, Any]) -> None:
    assert loads(recipe, "sft") == [] and needed([]) == 0
    assert loads(recipe, "rejuvenate", gpus=8) == []


def test_the_base_of_the_smoke_study_fits_any_gpu() -> None:
    fields = config.compose(["+experiment=smoke"]).config["pretrain"]
    needs = Allocation(gpus=1)
    place = placement.of("pretrain", Cluster(launcher="slurm", default=needs, stages={}))
    (step,) = memory.of("pretrain", Setting(config=fields, shape=of(EVOLM), needs=needs, place=place))
    assert step.where == "the GPU, in a step" and {"logits", "activations"} <= {part.what for part in step.parts}
