"""When a training is saved, and how it ends early: at a step that all ranks agree on, with its checkpoint on disk."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from stages.contract import Context, Input, Interrupted, StageError
from stages.modeling import checkpoint
from stages.training import checkpoints, ranks, state

#: Seconds of training between two saves: no less, and no less than this many times what the last save took.
SAVE_EVERY = 10.0
SAVE_SHARE = 20


def found(context: Context) -> Path | None:
    """The checkpoint to go on from, which rank 0 looks for; None to begin. What a kill left half is removed.

    One that is spoilt is told, and passed over for the one before.

    Raises:
        StageError: there is none, or an older one, although one was recorded.
    """
    return ranks.first(lambda: _found(context))


def _found(context: Context) -> Path | None:
    checkpoints.discard_incomplete(context.work)
    spoilt: list[str] = []
    last = None
    for each in checkpoints.newest_first(context.work):
        why = state.defect(each)
        if why is None:
            last = each
            break
        print(why, flush=True)
        spoilt.append(why)
    lost = context.saved.lost(None if last is None else checkpoints.step(last))
    if lost is not None:
        raise StageError("; ".join([*spoilt, lost]))
    return last


def load_model(source: Input, start: Path | None, *, dtype: str) -> PreTrainedModel:
    """The model to train: that of the checkpoint `start`, where a training goes on, else that of `source`."""
    if start is not None:
        source = replace(source, path=start, hub=None, revision=None)
    model = checkpoint.load_model(source, dtype=dtype)
    if (settings := getattr(model, "generation_config", None)) is not None:
        model.generation_config = AsGiven.of(settings)
    return model


class AsGiven(GenerationConfig):
    """Generation settings that are saved as they were read.

    transformers reads settings that it does not write, such as a temperature without do_sample, and notices when the
    model is saved. A training does not generate by them; whoever made the model meant something by them.
    """

    @classmethod
    def of(cls, settings: GenerationConfig) -> AsGiven:
        """The same settings."""
        made = cls()
        made.__dict__.update(settings.__dict__)
        return made

    def validate(self, strict: bool = False, user_set_attributes: set[str] | None = None) -> None:
        super().validate(strict=False, user_set_attributes=user_set_attributes)


def train(trainer: Trainer, start: Path | None) -> None:
    """Train from the checkpoint `start`, if there is one, to the end.

    Raises:
        StageError: the model could not be saved, whatever its weights.
        Interrupted: the stage was asked to stop before the end, and has saved.
    """
    _rehearse(trainer)
    trainer.train(resume_from_checkpoint=None if start is None else str(start))
    made = trainer.state
    if made.global_step < made.max_steps:
        raise Interrupted(f"saved at step {made.global_step} of {made.max_steps}")


def _rehearse(trainer: Trainer) -> None:
    """Save everything but the weights once, to a place that goes: what cannot be saved is not trained.

    Nor is what has an eos or a pad token without a row: the first batch would fail.
    """
    assert isinstance(trainer.model, PreTrainedModel)
    assert isinstance(trainer.processing_class, PreTrainedTokenizerBase)
    embedding: Any = trainer.model.get_input_embeddings()
    checkpoint.refuse_rowless("the model", trainer.processing_class, embedding.weight.shape[0])
    with tempfile.TemporaryDirectory() as folder:
        try:
            trainer.model.config.save_pretrained(folder)
            if trainer.model.can_generate():
                trainer.model.generation_config.save_pretrained(folder)
            trainer.processing_class.save_pretrained(folder)
        except Exception as error:  # whatever a library raises for what it has read and does not write
            raise StageError(f"the model could not be saved after its training: {error}") from None


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
