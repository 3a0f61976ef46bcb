"""The dynamics of a GRPO run: reported while it trains, saved at rollout boundaries, written when it is done."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from stages.contract import Context, Input, StageError
from stages.grpo import Config
from stages.training.distances import Distances
from stages.training.grpo_trainer import PolicyTrainer
from stages.training.grpo_validation import PREFIX
from stages.training.saving import Saving

#: Metrics of `training.jsonl`: name there -> name in the trainer's log. With several optimizer steps per rollout, the
#: ones about the rollout stand at its first step.
CURVE = {
    "step": "step",
    "reward": "reward",
    "zero_deviation": "frac_reward_zero_std",
    "unparsed": "unparsed",
    "grading_errors": "grading_errors",
    "completion_length": "completions/mean_length",
    "truncated": "completions/clipped_ratio",
    "entropy": "entropy",
    "kl": "kl",
    "clip_share": "clip_share",
    "dual_clip_share": "dual_clip_share",
    "gradient_norm": "grad_norm",
    "skipped": "skipped",
    "learning_rate": "learning_rate",
    "sampling_mismatch": "sampling_mismatch",
    "sampling_mismatch_max": "sampling_mismatch_max",
    "distance_start": "distance_start",
    "distance_base": "distance_base",
    "dropped_groups": "dropped_groups",
    "seconds": "step_time",
}

#: Metrics whose mean over the last tenth of the rollouts is in the record.
SUMMARY = (
    "reward",
    "kl",
    "entropy",
    "gradient_norm",
    "clip_share",
    "zero_deviation",
    "completion_length",
    "sampling_mismatch",
    "distance_start",
    "distance_base",
)

#: Updates in a row whose gradient is not finite, after which a run is stopped.
SKIPS = 3

Log = Sequence[Mapping[str, Any]]


class Watch(TrainerCallback):
    """Reports progress and the rows of the curves, and stops a run whose updates are skipped again and again."""

    def __init__(self, trainer: PolicyTrainer, context: Context) -> None:
        self._trainer = trainer
        self._context = context
        self._reward = float("nan")
        self._told = 0  # entries of the trainer's log, of which the first are those of earlier attempts

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if self._trainer.skipped >= SKIPS:
            raise StageError(
                f"step {state.global_step}: the gradient was not finite {SKIPS} times in a row (norm "
                f"{logs.get('grad_norm')}); those updates were skipped, and the policy does not come out of it"
            )
        self._reward = logs.get("reward", self._reward)
        if "loss" in logs and state.is_world_process_zero:
            self._context.progress.update(state.global_step, state.max_steps, reward=self._reward)
            fresh, self._told = state.log_history[self._told :], len(state.log_history)
            for kind, row in rows(fresh, self._trainer.config.steps_per_rollout):
                self._context.log(kind, row)


class Drift(TrainerCallback):
    """Measures at every step how far the policy is from other models."""

    def __init__(self, trainer: PolicyTrainer, models: dict[str, Input]) -> None:
        self._trainer = trainer
        self._models = models
        self._distances: Distances | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._distances = Distances(self._trainer.model, self._models)  # sharded by now, where it is

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        assert self._distances is not None
        for name, distance in self._distances.measure().items():
            self._trainer._metrics["train"][f"distance_{name}"].append(distance)


class Saves(Saving):
    """Saves at rollout boundaries only: TRL does not save the completions that are left in the middle of one."""

    def __init__(self, context: Context, steps_per_rollout: int) -> None:
        super().__init__(context)
        self._steps_per_rollout = steps_per_rollout

    def allows(self, step: int) -> bool:
        return step % self._steps_per_rollout == 0


def training(log: Log, steps_per_rollout: int) -> list[dict[str, Any]]:
    """One row per optimizer step, with its 1-based rollout."""
    steps = [entry for entry in log if "loss" in entry]
    return [
        {"rollout": (entry["step"] - 1) // steps_per_rollout + 1}
        | {name: entry[key] for name, key in CURVE.items() if _is_number(entry.get(key))}
        for entry in steps
    ]


def rows(log: Log, steps_per_rollout: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of both curves in the order of the log, each with the curve that it is of."""
    for entry in log:
        yield from (("train", row) for row in training([entry], steps_per_rollout))
        yield from (("validation", row) for row in validation([entry], steps_per_rollout))


def _is_number(value: Any) -> bool:
    """Whether there is a value that JSON has: the norm of a gradient that is not finite is left out."""
    return value is not None and math.isfinite(value)


def validation(log: Log, steps_per_rollout: int) -> list[dict[str, Any]]:
    """One row per validation; `rollout` is the number of rollouts trained on before it."""
    return [
        {"rollout": entry["step"] // steps_per_rollout, "step": entry["step"]}
        | {key.removeprefix(PREFIX): value for key, value in entry.items() if key.startswith(PREFIX)}
        for entry in log
        if any(key.startswith(PREFIX) for key in entry)
    ]


def summary(training: Log, validation: Log, config: Config) -> dict[str, Any]:
    """The numbers of the record: means over the last tenth of the rollouts, and the last validation."""
    last = [row for row in training if row["rollout"] > config.rollouts * 0.9 or row["rollout"] == config.rollouts]
    known = {name: [row[name] for row in last if name in row] for name in SUMMARY}
    means = {name: fmean(values) for name, values in known.items() if values}
    end = {f"validation_{name}": validation[-1][name] for name in ("pass@1", "pass@1_se")} if validation else {}
    skipped = sum(row["skipped"] for row in training)
    return {"rollouts": config.rollouts, "steps": training[-1]["step"], "skipped": int(skipped), **means, **end}


def write(rows: Log, file: Path) -> None:
    """JSON lines; no file for no rows."""
    if rows:
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
