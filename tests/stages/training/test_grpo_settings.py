"""TRL is told verl's formula, and verl's steps."""

from pathlib import Path

import pytest
from transformers import Qwen2Config, Qwen2ForCausalLM, Trainer
from trl import GRPOTrainer, SFTTrainer

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


@pytest.mark.parametrize("completions", [2, 3, 5, 8, 12, 16, 64])
def test_a_group_has_any_number_of_completions(tmp_path: Path, completions: int) -> None:
    """TRL checks that its own default batch, of 8, holds whole groups; what is used here always does."""
    context = Context(
        inputs={}, work=tmp_path, output=tmp_path, resources=Resources(), progress=Progress(tmp_path / "p")
    )
    settings = arguments(config(prompts=4, mini_batch=2, completions=completions), context)
    assert settings.generation_batch_size == 4 * completions
    assert settings.per_device_train_batch_size * settings.gradient_accumulation_steps == 2 * completions


def test_norms_and_biases_do_not_decay_as_the_recipe_says() -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(**sizes, num_key_value_heads=2, vocab_size=16))
    decays = Trainer.get_decay_parameter_names(None, model)  # type: ignore[arg-type]  # what both of our trainers use
    assert all(each.create_optimizer is Trainer.create_optimizer for each in (SFTTrainer, GRPOTrainer))
    kept = {name for name, _ in model.named_parameters() if name not in decays}
    assert {name.removeprefix("model.").removeprefix("layers.0.") for name in kept} == {
        *(f"self_attn.{kind}_proj.bias" for kind in "qkv"),
        *("input_layernorm.weight", "post_attention_layernorm.weight", "norm.weight"),
    }
