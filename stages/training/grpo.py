"""Reinforcement learning with TRL's GRPOTrainer: from the rows of problems to the published checkpoint.

With several ranks each rolls out, grades and trains on its share of a rollout batch, with an engine and graders of its
own. The science of another number of ranks is the same, its numbers are not: a rank draws its completions from its own
seed, and divides them among the optimizer steps of the rollout by itself. Two ranks were tried on a CPU, with both
engines; ranks on GPUs, over NCCL, were not.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl import GRPOConfig

from stages.contract import Context, StageError
from stages.grading.pool import Graders
from stages.grpo import Config
from stages.modeling.checkpoint import load_model, load_tokenizer
from stages.training import checkpoints, grpo_curve, grpo_problems, grpo_settings, saving
from stages.training.grpo_curve import Saves, Watch
from stages.training.grpo_problems import Problems
from stages.training.grpo_reward import Reward
from stages.training.grpo_trainer import PolicyTrainer
from stages.training.grpo_validation import Validation


def train(config: Config, context: Context) -> dict[str, Any]:
    """Train, or go on training, to the last rollout; write the checkpoint and the curves; return the summary."""
    arguments = grpo_settings.arguments(config, context)
    tokenizer = load_tokenizer(context.inputs["checkpoint"])
    problems = grpo_problems.load(context.inputs["problems"], tokenizer, config)
    done = saving.found(context)
    if done is None or checkpoints.step(done) < config.rollouts * config.steps_per_rollout:
        with Graders(context.resources.graders) as graders:
            trainer = _trainer(config, context, arguments, tokenizer, problems, graders)
            saving.train(trainer, done)
    if context.rank > 0:
        return {}
    last = checkpoints.latest(context.work)
    assert last is not None
    return _publish(last, config, context) | problems.counts


def _trainer(
    config: Config,
    context: Context,
    arguments: GRPOConfig,
    tokenizer: PreTrainedTokenizerBase,
    problems: Problems,
    graders: Graders,
) -> PolicyTrainer:
    source = context.inputs["checkpoint"]
    if source.revision is not None:
        arguments.model_init_kwargs = {"revision": source.revision}  # for the reference, which TRL loads by name
    model = load_model(source, dtype=config.dtype)
    if config.max_prompt + config.max_new_tokens > model.config.max_position_embeddings:
        raise StageError(
            f"max_prompt={config.max_prompt} and max_new_tokens={config.max_new_tokens} together exceed the "
            f"{model.config.max_position_embeddings} positions of {source.model}"
        )
    trainer = PolicyTrainer(
        source=source,
        config=config,
        model=model,
        processing_class=tokenizer,
        reward_funcs=Reward(graders, planned=config.rollouts * config.prompts * config.completions),
        args=arguments,
        train_dataset=grpo_problems.rollout_rows(problems.train, config),
    )
    trainer.remove_callback(PrinterCallback)
    if config.validate_every:
        trainer.add_callback(Validation(trainer, graders, problems.validation, config))
    trainer.add_callback(Saves(context, config.steps_per_rollout))
    trainer.add_callback(Watch(context.progress))
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
