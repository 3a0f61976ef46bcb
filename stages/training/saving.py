"""When a training is saved, and how it ends early: at a step that all ranks agree on, with its checkpoint on disk."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from stages.contract import Context, Input, Interrupted, StageError
from stages.modeling import checkpoint
from stages.training import checkpoints, ranks

#: Seconds of training between two saves: no less, and no less than this many times what the last save took.
SAVE_EVERY = 10.0
SAVE_SHARE = 20


def found(context: Context) -> Path | None:
    """The checkpoint to go on from, which rank 0 looks for; None to begin. What a kill left half is removed.

    Raises:
        StageError: there is none, or an older one, although one was recorded.
    """
    return ranks.first(lambda: _found(context))


def _found(context: Context) -> Path | None:
    checkpoints.discard_incomplete(context.work)
    last = checkpoints.latest(context.work)
    lost = context.saved.lost(None if last is None else checkpoints.step(last))
    if lost is not None:
        raise StageError(lost)
    return last


def load_model(source: Input, start: Path | None, *, dtype: str) -> PreTrainedModel:
    """The model to train: that of the checkpoint `start`, where a training goes on, else that of `source`."""
    if start is not None:
        source = replace(source, path=start, hub=None, revision=None)
    return checkpoint.load_model(source, dtype=dtype)


def train(trainer: Trainer, start: Path | None) -> None:
    """Train from the checkpoint `start`, if there is one, to the end.

    Raises:
        Interrupted: the stage was asked to stop before the end, and has saved.
    """
    trainer.train(resume_from_checkpoint=None if start is None else str(start))
    state = trainer.state
    if state.global_step < state.max_steps:
        raise Interrupted(f"saved at step {state.global_step} of {state.max_steps}")


class Saving(TrainerCallback):
    """Asks for a save by the clock, and, once the stage is asked to stop, at the next step that `allows` it.

    A save costs no more than a twentieth of the time, and a kill no more than twenty times what a save takes.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._asked = self._saved = time.monotonic()
        self._cost = 0.0

    def allows(self, step: int) -> bool:
        """Whether a run can be continued from a checkpoint of `step`; the last step always is one."""
        return True

    def _due(self) -> bool:
        self._asked = time.monotonic()
        return self._asked - self._saved > max(SAVE_EVERY, SAVE_SHARE * self._cost)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not self.allows(state.global_step):
            return
        # Clocks differ, and a signal reaches one process before another.
        due, stopping = ranks.anywhere(self._due(), self._context.stopping())
        control.should_save = due or stopping or state.global_step == state.max_steps
        control.should_training_stop = control.should_training_stop or stopping

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        ranks.wait()  # every rank writes a file of its own into the checkpoint
        if state.is_world_process_zero:
            checkpoints.complete(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
            self._context.saved.record(state.global_step)
        ranks.wait()  # a rank that ended before the mark is set might take the job down with it
        self._saved = time.monotonic()
        self._cost = self._saved - self._asked
