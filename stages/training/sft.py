"""Supervised fine-tuning with TRL's SFTTrainer: any number of epochs, cut into any number of jobs, on any ranks.

The rows of a step, its loss and its gradient do not depend on the number of ranks: each takes an equal share of the
batch, and the loss is divided by the response tokens of all of it. What is logged is the whole batch's, too.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer

from stages.batches import split
from stages.contract import Context, StageError
from stages.modeling.checkpoint import load_tokenizer
from stages.sft import Config
from stages.training import checkpoints, ranks, saving, sft_data, state, trainer_settings
from stages.training.resumable import Resumable
from stages.training.watchdog import Watchdog

#: Metrics of `training.jsonl`: name there -> name in the trainer's log.
CURVE = {
    "step": "step",
    "epoch": "epoch",
    "loss": "loss",
    "entropy": "entropy",
    "accuracy": "mean_token_accuracy",
    "gradient_norm": "grad_norm",
}


def run(config: Config, context: Context) -> dict[str, Any]:
    """Train, or go on training, until `config.epochs` are done; then lay out the artifact and summarise it (rank 0)."""
    with Watchdog(context) as watchdog:
        arguments = _arguments(config, context)
        tokenizer = load_tokenizer(context.inputs["checkpoint"], ends=True)
        demonstrations = sft_data.load(context.inputs["demonstrations"], tokenizer, config)
        per_epoch = len(demonstrations) // config.batch
        done = saving.found(context)
        if done is None or checkpoints.step(done) < config.epochs * per_epoch:
            start = _start(context, done)
            order = sft_data.EpochOrder(len(demonstrations), config.batch, config.seed)
            trainer = _Trainer(
                order=order,
                model=saving.load_model(context.inputs["checkpoint"], start, dtype=config.dtype),
                args=arguments,
                train_dataset=demonstrations.data,
                processing_class=tokenizer,
                callbacks=[_Watch(order, per_epoch, context, watchdog)],
            )
            saving.train(trainer, start)
    if context.rank > 0:
        return {}
    last = checkpoints.latest(context.work)
    assert last is not None
    checkpoints.publish(last, context.output / "model", context.state)
    curve = _curve(last)
    _write_curve(curve, context.output / "training.jsonl")
    return _summary(config, curve[-per_epoch:], demonstrations)


def _start(context: Context, saved: Path | None) -> Path | None:
    """Where to go on: what this node left unfinished, else the artifact of fewer epochs, else nothing."""
    if saved is not None or context.continues is None:
        return saved
    _, artifact = context.continues
    return ranks.first(lambda: _continued(artifact, context.work))


def _continued(artifact: Path, work: Path) -> Path:
    start = checkpoints.continued(artifact, work)
    why = state.defect(start)
    if why is not None:
        raise StageError(f"{why}; it is of {artifact / 'state'}: without that folder it starts from what was before")
    return start


class _Watch(saving.Saving):
    """Keeps the sampler's epoch, reports progress, and stops a run whose numbers are no longer finite."""

    def __init__(self, order: sft_data.EpochOrder, per_epoch: int, context: Context, watchdog: Watchdog) -> None:
        super().__init__(context)
        self._order, self._per_epoch = order, per_epoch
        self._watchdog = watchdog
        self._told = 0  # entries of the trainer's log, of which the first are those of earlier attempts

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # The step counter survives a restart in the middle of an epoch, where set_epoch would not reach the sampler.
        self._order.epoch = state.global_step // self._per_epoch

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._watchdog.beat("training")

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._watchdog.beat("training")
        logs = kwargs["logs"]
        for name in ("loss", "grad_norm"):
            if not math.isfinite(logs.get(name, 0.0)):
                raise StageError(f"step {state.global_step}: {name} is {logs[name]}; nothing of this step is saved")
        if state.is_world_process_zero and "loss" in logs:
            self._context.progress.update(state.global_step, state.max_steps, loss=logs["loss"])
            fresh, self._told = state.log_history[self._told :], len(state.log_history)
            for row in _rows(fresh):
                self._context.log("train", row)


class _Trainer(Resumable, SFTTrainer):
    """SFTTrainer with our order of the rows."""

    def __init__(self, *, order: sft_data.EpochOrder, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._order = order

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> sft_data.EpochOrder:
        return self._order


def _arguments(config: Config, context: Context) -> SFTConfig:
    """The trainer's settings, each one said, so that no default of TRL decides what is trained."""
    arguments = SFTConfig(
        **trainer_settings.settings(config, context),
        num_train_epochs=config.epochs,
        loss_type=config.loss,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        average_tokens_across_devices=True,  # the loss is a mean over the tokens of the whole batch
        # The order has whole batches only. Without this, accelerate takes rows that it leaves out for padding, and
        # drops the last ranks' share from the entropy and the accuracy of an epoch's last step.
        dataloader_drop_last=True,
    )
    trainer_settings.settle(arguments, config, context)
    share, steps = split("batch", config.batch, context.resources.per_device_batch, context.world)
    arguments.per_device_train_batch_size = share
    arguments.gradient_accumulation_steps = steps
    return arguments


def _curve(checkpoint: Path) -> list[dict[str, float]]:
    """One row per optimizer step since the first epoch, whatever jobs it was trained in."""
    log = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return _rows(log)


def _rows(log: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{name: entry[key] for name, key in CURVE.items()} for entry in log if "loss" in entry]


def _write_curve(curve: list[dict[str, float]], file: Path) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in curve))


def _summary(
    config: Config, last_epoch: list[dict[str, float]], demonstrations: sft_data.Demonstrations
) -> dict[str, Any]:
    rows = len(demonstrations)
    lengths = np.array([len(ids) for ids in demonstrations.data.with_format("numpy")["input_ids"]])
    epochs = [sft_data.order(rows, config.batch, config.seed, epoch) for epoch in range(config.epochs)]
    means = {name: fmean(row[name] for row in last_epoch) for name in ("loss", "entropy", "accuracy")}
    return means | {
        "rows": rows,
        "overlong": demonstrations.overlong,
        "steps": config.epochs * len(last_epoch),
        "tokens": sum(int(lengths[epoch].sum()) for epoch in epochs),
    }
