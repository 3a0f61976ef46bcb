"""Operations of every stage, by hand, for EvoLM-4B with the paper's recipe."""

from __future__ import annotations

from typing import Any

import pytest

from launch.job import Allocation
from orchestrator import config
from orchestrator.forecast import work
from orchestrator.forecast.memory import Setting
from orchestrator.forecast.placement import Placement
from orchestrator.forecast.work import Work
from tests.orchestrator.forecast import paper
from tests.orchestrator.forecast.paper import EVOLM, P
from tests.orchestrator.forecast.test_shape import of


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return paper.recipe(epochs=32)


def made(
    recipe: dict[str, Any], stage: str, rows: int | None = None, done: int = 0, gpus: int = 8, **chosen: Any
) -> Work:
    setting = Setting(
        config={**recipe[stage], **chosen},
        shape=of(EVOLM),
        needs=Allocation(gpus=gpus),
        place=Placement(machines=1, ranks=max(1, gpus), gpus=gpus),
    )
    found = work.of(stage, setting, rows, done)
    assert found is not None
    return found


def test_sft(recipe: dict[str, Any]) -> None:
    # 390 batches of 256 rows an epoch, of 2,048 tokens at most; on GPUs activations are computed again
    assert made(recipe, "sft") == Work(dense=8 * P * 32 * 390 * 256 * 2048)
    assert made(recipe, "sft", gpus=0).dense == 6 * P * 32 * 390 * 256 * 2048
    assert made(recipe, "sft", done=2).dense == 8 * P * 30 * 390 * 256 * 2048


def test_sft_on_fewer_rows_than_samples_or_on_all_of_them(recipe: dict[str, Any]) -> None:
    assert made(recipe, "sft", rows=600, samples=None).dense == 8 * P * 32 * 512 * 2048
    assert made(recipe, "sft", rows=600).dense == 8 * P * 32 * 512 * 2048
    setting = Setting(
        config={**recipe["sft"], "samples": None},
        shape=of(EVOLM),
        needs=Allocation(),
        place=Placement(machines=1, ranks=1, gpus=0),
    )
    assert work.of("sft", setting) is None


def test_grpo(recipe: dict[str, Any]) -> None:
    # 4,096 completions of 1,536 tokens a rollout: trained on, scored by the reference and, for four steps, by the old
    # policy; 200 / 50 + 2 validations of 512 problems
    found = made(recipe, "grpo")
    assert found.dense == 200 * (4096 * 1536 * (8 + 2 + 2) * P + 2 * P * 512 * 512)
    assert found.generated == 200 * 2 * P * 4096 * 1024 + 6 * 2 * P * 512 * 1024
    assert made(recipe, "grpo", mini_batch=512, beta=0.0).dense == 200 * (4096 * 1536 * 8 * P + 2 * P * 512 * 512)
    drawn = made(recipe, "grpo", dynamic_sampling=True, validate_every=0)
    assert drawn.generated == 10 * 200 * 2 * P * 4096 * 1024


def test_evaluate(recipe: dict[str, Any]) -> None:
    found = made(recipe, "evaluate", problems=500, k=4)
    assert found == Work(dense=2 * P * 500 * 1024, generated=2 * P * 500 * 4 * 1024)
    assert made(recipe, "evaluate", rows=500, problems=None, k=4) == found


def test_attribute_and_diagnose_in_float32(recipe: dict[str, Any]) -> None:
    # 64 samples of 2,048 tokens and 16 targets; float32 takes 16 times as long
    assert made(recipe, "attribute").dense == 16 * (6 + 2 * 16) * P * 64 * 2048
    # 2 models; 64 samples, and 16 of them for 1 + 2 x 3 x (4 + 1) losses
    assert made(recipe, "diagnose", rho=0.0).dense == 16 * 2 * 2 * P * 2048 * (64 + 16 * 31)


def test_pretrain_is_counted_exactly() -> None:
    recipe = config.compose(["+experiment=tiny_math"]).config
    found = made(recipe, "pretrain", dtype="bfloat16")
    assert found == Work(dense=6 * P * 1400 * 16 * 128, most=False)


def test_generation_weighs_more(recipe: dict[str, Any]) -> None:
    assert Work(dense=4.0, generated=3.0).weighed == pytest.approx(4.0 / 0.4 + 3.0 / 0.15)


def test_rejuvenation_is_none_for_a_gpu(recipe: dict[str, Any]) -> None:
    setting = Setting(
        config=recipe["rejuvenate"],
        shape=of(EVOLM),
        needs=Allocation(),
        place=Placement(machines=1, ranks=1, gpus=0),
    )
    assert work.of("rejuvenate", setting) is None
