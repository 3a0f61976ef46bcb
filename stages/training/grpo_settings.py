"""The trainer's settings, and how a rollout batch is split over devices.

The loss itself is `policy_loss`; TRL's own, with what it is told here, is the same where verl's bounds do not matter.
"""

from __future__ import annotations

from trl import GRPOConfig

from stages.batches import split
from stages.contract import Context
from stages.grpo import Config
from stages.training import trainer_settings


def arguments(config: Config, context: Context) -> GRPOConfig:
    """Each choice said, so that no default of TRL decides what is trained."""
    settings = GRPOConfig(
        **trainer_settings.settings(config, context),
        num_train_epochs=1,  # the data set holds the problems of all rollouts, in order
        shuffle_dataset=False,
        num_generations=config.completions,
        per_device_train_batch_size=config.completions,  # TRL checks this one; `_divide` sets what is used
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,  # of the log-probabilities that are trained on, too
        top_p=config.top_p,
        top_k=0,
        num_iterations=config.passes,
        scale_rewards="group" if config.advantage_std else "none",
        loss_type="grpo" if config.aggregation == "seq-mean-token-mean" else "dapo",
        importance_sampling_level="token",
        epsilon=config.clip_low,
        epsilon_high=config.clip_high,
        delta=config.dual_clip,  # the same as verl's dual clip: for positive advantages the upper clip binds first
        beta=config.beta,
        use_bias_correction_kl=False,  # verl adds the plain k3 estimate to the loss
        top_entropy_quantile=1.0,
        entropy_coef=config.entropy_coefficient,  # with it, entropies have a gradient
        mask_truncated_completions=False,
        vllm_importance_sampling_correction=False,  # verl's rollout correction is off by default
        disable_dropout=True,
    )
    trainer_settings.settle(settings, config, context)
    _divide(settings, config, context)
    return settings


def _divide(settings: GRPOConfig, config: Config, context: Context) -> None:
    """Batch sizes: an optimizer step is a mini-batch, a generation batch is a rollout."""
    split("mini_batch", config.mini_batch, 1, context.world)  # whole groups on every rank
    batch = config.mini_batch * config.completions
    micro, accumulation = split("mini_batch x completions", batch, context.resources.per_device_batch, context.world)
    settings.per_device_train_batch_size = micro
    settings.gradient_accumulation_steps = accumulation
    settings.steps_per_generation = accumulation * (config.prompts // config.mini_batch)
    settings.generation_batch_size = config.prompts * config.completions
