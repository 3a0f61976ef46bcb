"""Reinforcement learning with TRL's GRPOTrainer: from the rows of problems to the published checkpoint.

With several ranks each grades and trains on its share of every mini-batch. What a completion is, and which mini-batch
it is in, does not depend on their number (with `rollout_seeds: each`). Two ranks were tried on a CPU, with all kinds of
rollouts, sharded and not; ranks on GPUs, over NCCL, were not.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl import GRPOConfig

from stages.contract import Context, StageError
from stages.grading.pool import Graders
from stages.grpo import Config
from stages.modeling.checkpoint import load_model, load_tokenizer
from stages.training import checkpoints, grpo_curve, grpo_problems, grpo_settings, rollouts, saving
from stages.training.grpo_curve import Drift, Saves, Watch
from stages.training.grpo_problems import Problems
from stages.training.grpo_reward import Reward
from stages.training.grpo_trainer import PolicyTrainer
from stages.training.grpo_validation import Validation
from stages.training.rollouts import Rollouts
from stages.training.selection import Selection
from stages.training.watchdog import Watchdog


def train(config: Config, context: Context) -> dict[str, Any]:
    """Train, or go on training, to the last rollout; write the checkpoint and the curves; return the summary."""
    with Watchdog(context) as watchdog:
        arguments = grpo_settings.arguments(config, context)
        tokenizer = load_tokenizer(context.inputs["checkpoint"], ends=True)
        problems = grpo_problems.load(context.inputs["problems"], tokenizer, config)
        done = saving.found(context)
        if done is None or checkpoints.step(done) < config.rollouts * config.steps_per_rollout:
            policy = _policy(config, context, done)
            with (
                Graders(context.resources.graders) as graders,
                rollouts.make(policy, config, tokenizer, context, watchdog.beat) as generator,
            ):
                parts = Parts(config, context, arguments, tokenizer, problems, graders, watchdog)
                saving.train(_trainer(parts, policy, generator), done)
    if context.rank > 0:
        return {}
    last = checkpoints.latest(context.work)
    assert last is not None
    return _publish(last, config, context) | problems.counts


@dataclass(frozen=True)
class Parts:
    """What a trainer is made of, beside its models."""

    config: Config
    context: Context
    arguments: GRPOConfig
    tokenizer: PreTrainedTokenizerBase
    problems: Problems
    graders: Graders
    watchdog: Watchdog


def _policy(config: Config, context: Context, done: Path | None) -> PreTrainedModel:
    """The model to train, of the start or of the checkpoint `done`."""
    source = context.inputs["checkpoint"]
    model = saving.load_model(source, done, dtype=config.dtype)
    positions = model.config.max_position_embeddings
    if config.max_prompt + config.max_new_tokens > positions:
        raise StageError(
            f"max_prompt={config.max_prompt} and max_new_tokens={config.max_new_tokens} together exceed the "
            f"{positions} positions of {source.model}"
        )
    return model


def _trainer(parts: Parts, policy: PreTrainedModel, generator: Rollouts) -> PolicyTrainer:
    config, context = parts.config, parts.context
    source = context.inputs["checkpoint"]
    reward = Reward(parts.graders, planned=config.rollouts * config.prompts * config.completions)
    trainer = PolicyTrainer(
        config=config,
        reward=reward,
        reference=load_model(source, dtype=config.dtype) if config.beta else None,
        rollouts=generator,
        beat=parts.watchdog.beat,
        model=policy,
        processing_class=parts.tokenizer,
        args=parts.arguments,
        train_dataset=grpo_problems.rollout_rows(parts.problems.train, config, context.world),
    )
    if config.dynamic_sampling:
        trainer.selection = Selection(trainer, parts.problems.train, reward)
    trainer.remove_callback(PrinterCallback)
    if config.validate_every:
        trainer.add_callback(Validation(trainer, parts.graders, parts.problems.validation, parts.watchdog.beat))
    models = {"start": source, "base": context.inputs.get("base", source)}
    trainer.add_callback(Drift(trainer, {name: models[name] for name in config.distances}))
    trainer.add_callback(Saves(context, config.steps_per_rollout))
    trainer.add_callback(Watch(trainer, context))
    return trainer


def _publish(done: Path, config: Config, context: Context) -> dict[str, Any]:
    checkpoints.publish(done, context.output / "model", context.state)
    shutil.rmtree(context.state)  # nothing continues a GRPO run, and the optimizer is twice the model's size
    log = json.loads((done / "trainer_state.json").read_text())["log_history"]
    training = grpo_curve.training(log, config.steps_per_rollout)
    validation = grpo_curve.validation(log, config.steps_per_rollout)
    grpo_curve.write(training, context.output / "training.jsonl")
    grpo_curve.write(validation, context.output / "validation.jsonl")
    return grpo_curve.summary(training, validation, config)
