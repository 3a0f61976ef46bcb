"""TRL is told verl's formula, and verl's steps."""

from pathlib import Path

from stages.contract import Context, Resources
from stages.progress import Progress
from stages.training.grpo_settings import arguments
from tests.stages.test_grpo import config


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
