"""State of a trainer on disk that does not depend on how it was run: the optimizer's, whole and by parameter names.

So a training goes on with another number of processes, sharded or not. The weights of a checkpoint are loaded when the
model is made, in the way any checkpoint is; the trainer only loads what lies beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from transformers import PreTrainedModel

from stages.training import checkpoints
from stages.training import state as training_state


class Resumable:
    """A transformers Trainer that derives from this first has the state described above, and leaves nothing else."""

    args: Any
    model: PreTrainedModel
    optimizer: torch.optim.Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LambdaLR

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: an artifact is described by its record."""

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing: whoever made this trainer has loaded them."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
        state = get_optimizer_state_dict(self.model, self._bare_optimizer, options=whole)
        if self.args.should_save:
            torch.save(state, Path(output_dir, checkpoints.OPTIMIZER))
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir, checkpoints.SCHEDULER))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state: dict[str, Any] = {}
        if self.args.process_index == 0:  # the others get their part from it
            state = training_state.load(Path(checkpoint, checkpoints.OPTIMIZER), map_location="cpu", mmap=True)
        spread = StateDictOptions(full_state_dict=True, broadcast_from_rank0=self.args.world_size > 1)
        set_optimizer_state_dict(self.model, self._bare_optimizer, state, options=spread)
        self.lr_scheduler.load_state_dict(training_state.load(Path(checkpoint, checkpoints.SCHEDULER)))

    @property
    def _bare_optimizer(self) -> torch.optim.Optimizer:
        """torch's own, without what accelerate puts around it, which makes no step in the middle of a batch."""
        bare: torch.optim.Optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        return bare
