"""Periodic validation on held-out problems, at a temperature of its own, with the engine of the rollouts.

The ranks share the problems. A completion depends on its prompt and the seed alone, so the result does not depend on
their number, but for rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from stages.data.tokens import prompt_ids
from stages.evaluation import statistics
from stages.generation.engine import Sampling
from stages.grading.pool import Graders
from stages.training import ranks
from stages.training.grpo_problems import Row
from stages.training.grpo_trainer import PolicyTrainer
from stages.training.rollouts import Beat

#: The keys of a validation in the trainer's log begin with this.
PREFIX = "validation/"


class Validation(TrainerCallback):
    """Validates before the first rollout, after every `validate_every`, and after the last.

    TRL has no evaluation temperature, so this is no `evaluate` of the trainer (trl issue 3539).
    """

    def __init__(self, trainer: PolicyTrainer, graders: Graders, problems: Sequence[Row], beat: Beat) -> None:
        self._trainer = trainer
        self._graders = graders
        self._problems = ranks.share(problems)
        self._prompts = [prompt_ids(trainer.processing_class, row["prompt"]) for row in self._problems]
        self._config = trainer.config
        self._beat = beat

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step == 0:
            self._validate(state)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        rollouts, rest = divmod(state.global_step, self._config.steps_per_rollout)
        if rest == 0 and (rollouts % self._config.validate_every == 0 or rollouts == self._config.rollouts):
            self._validate(state)

    def _validate(self, state: TrainerState) -> None:
        groups = ranks.gathered(self._groups())
        mean, error = statistics.pass_at_1([[correct for correct, _ in group] for group in groups])
        tokens = [count for group in groups for _, count in group]
        metrics = {"pass@1": mean, "pass@1_se": error, "mean_tokens": sum(tokens) / len(tokens)}
        # Into the log that is saved with a checkpoint, so that a resumed run has all of its validations.
        state.log_history.append({"step": state.global_step, **{PREFIX + key: v for key, v in metrics.items()}})

    def _groups(self) -> list[list[tuple[bool, int]]]:
        """For each of this rank's problems and each of its samples: whether it is correct, and its tokens."""
        sampling = Sampling(
            n=self._config.validation_samples,
            temperature=self._config.validation_temperature,
            top_p=self._config.validation_top_p,
            max_new_tokens=self._config.max_new_tokens,
            seed=self._config.seed,
        )
        self._beat("validation")
        completions = self._trainer.sample(self._prompts, sampling)
        answers = [
            (row["answer"], c.text) for row, group in zip(self._problems, completions, strict=True) for c in group
        ]
        correct = iter(grade.correct is True for grade in self._graders.grade("math", answers))
        return [[(next(correct), len(completion.token_ids)) for completion in group] for group in completions]
