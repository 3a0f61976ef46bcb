"""How a mini-batch is split, and that TRL is told verl's formula."""

from pathlib import Path

import pytest

from stages.contract import Context, Resources, StageError
from stages.progress import Progress
from stages.training.grpo_settings import arguments, split
from tests.stages.test_grpo import config


@pytest.mark.parametrize(
    ("batch", "per_device", "world", "expected"),
    [(1024, 8, 8, (8, 16)), (1024, 8, 1, (8, 128)), (96, 20, 1, (16, 6)), (128, 1000, 1, (128, 1)), (7, 4, 1, (1, 7))],
)
def test_a_mini_batch_is_split_into_equal_micro_batches(
    batch: int, per_device: int, world: int, expected: tuple[int, int]
) -> None:
    micro, accumulation = split(batch, per_device, world)
    assert (micro, accumulation) == expected
    assert micro * accumulation * world == batch


def test_an_impossible_split_names_the_possible_ones() -> None:
    with pytest.raises(StageError, match="= 12 sequences per step .* 8 devices; possible .*: 1, 2, 3, 4, 6, 12"):
        split(12, 4, 8)


def test_the_papers_step_is_four_optimizer_steps_of_128_prompts(tmp_path: Path) -> None:
    paper = config(prompts=512, completions=8, mini_batch=128, max_new_tokens=1024, learning_rate=1e-6)
    context = Context(
        inputs={},
        work=tmp_path,
        output=tmp_path,
        resources=Resources(per_device_batch=8),
        progress=Progress(tmp_path / "p"),
    )
    settings = arguments(paper, context)
    assert settings.generation_batch_size == 4096
    assert settings.per_device_train_batch_size * settings.gradient_accumulation_steps == 1024
    assert settings.steps_per_generation == 4 * settings.gradient_accumulation_steps
    assert (settings.loss_type, settings.scale_rewards, settings.delta) == ("grpo", "group", 3.0)
    assert not settings.use_bias_correction_kl and not settings.vllm_importance_sampling_correction
