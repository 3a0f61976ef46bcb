"""The trainer's settings that make TRL's GRPO compute what verl's does, and how a batch is split over devices."""

from __future__ import annotations

from trl import GRPOConfig

from stages.batches import split
from stages.contract import Context
from stages.grpo import Config
from stages.training import trainer_settings


def arguments(config: Config, context: Context) -> GRPOConfig:
    """Each choice said, so that no default of TRL decides what is trained."""
    settings = GRPOConfig(
        **trainer_settings.settings(config, context.work),
        num_train_epochs=1,  # the data set holds the problems of all rollouts, in order
        shuffle_dataset=False,
        num_generations=config.completions,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=0,
        num_iterations=1,  # verl ppo_epochs
        loss_type="grpo",  # verl loss_agg_mode seq-mean-token-mean
        importance_sampling_level="token",
        scale_rewards="group",
        epsilon=config.clip_low,
        epsilon_high=config.clip_high,
        delta=config.dual_clip,  # the same as verl's dual clip: for positive advantages the upper clip binds first
        beta=config.beta,
        use_bias_correction_kl=False,  # verl adds the plain k3 estimate to the loss
        vllm_importance_sampling_correction=False,  # verl's rollout correction is off by default
        mask_truncated_completions=False,
        entropy_coef=0.0,
        top_entropy_quantile=1.0,
        disable_dropout=True,
    )
    trainer_settings.check_ranks(settings, context)
    _divide(settings, config, context)
    return settings


def _divide(settings: GRPOConfig, config: Config, context: Context) -> None:
    """Batch sizes: an optimizer step is a mini-batch, a generation batch is a rollout."""
    batch = config.mini_batch * config.completions
    micro, accumulation = split("mini_batch x completions", batch, context.resources.per_device_batch, context.world)
    settings.per_device_train_batch_size = micro
    settings.gradient_accumulation_steps = accumulation
    settings.steps_per_generation = accumulation * config.steps_per_rollout
    settings.generation_batch_size = config.prompts * config.completions
