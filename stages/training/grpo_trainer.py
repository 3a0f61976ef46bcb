"""TRL's GRPOTrainer with this project's tokenisation and seeds, and its engine at hand for validation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from trl import GRPOTrainer

from stages.contract import Input
from stages.data.tokens import prompt_ids
from stages.generation.engine import Engine, prompt_seed
from stages.generation.transformers_engine import TransformersEngine
from stages.grpo import Config


class PolicyTrainer(GRPOTrainer):
    """GRPOTrainer for one policy, whose reference is what `source` holds on disk."""

    def __init__(self, *, source: Input, config: Config, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._sampled: torch.Tensor | None = None
        self._sampled_mask: torch.Tensor | None = None
        if config.engine == "vllm":
            from stages.training.grpo_rollouts import Rollouts

            # Not through `use_vllm` of the arguments: TRL would choose the engine's dtype, and on a CPU could not
            # update its weights.
            self.vllm_generation = Rollouts(source, config, self)
            self._last_loaded_step = -1  # TRL syncs the weights when this is not the current step
            self.use_vllm = True

    def engine(self) -> Engine:
        """The engine of the rollouts, holding the weights of this moment."""
        if self.use_vllm:
            if self._last_loaded_step != self.state.global_step:
                self.vllm_generation.sync_weights()
                self._last_loaded_step = self.state.global_step
            return self.vllm_generation.engine
        model = self.accelerator.unwrap_model(self.model)
        batch = self.args.generation_batch_size // self.accelerator.num_processes
        return TransformersEngine(model, self.processing_class, batch=batch)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: an artifact is described by its record."""

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        # TRL's own would add the tokenizer's special tokens.
        return [prompt_ids(self.processing_class, prompt) for prompt in prompts], None, {}

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        # From the seed, the step and the rank alone, so that a resumed run repeats its rollouts.
        with seeded(self.args.seed, self.state.global_step, self.accelerator.process_index):
            return super()._generate_single_turn(*args, **kwargs)

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        # The policy has not moved since the rollout in the first optimizer step on it: any difference between the
        # engine's and the trainer's log-probabilities is a mismatch of the two.
        fresh = self._step % self.args.steps_per_generation < self.args.gradient_accumulation_steps
        self._sampled = inputs.get("sampling_per_token_logps") if fresh else None
        self._sampled_mask = inputs["completion_mask"].bool()
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if self._sampled is not None and kwargs.get("compute_entropy"):  # called by the loss
            difference = (found[0].detach() - self._sampled)[self._sampled_mask]
            mean = self.accelerator.gather(difference.abs().nanmean())
            self._metrics["train"]["sampling_mismatch"].append(mean.nanmean().item())
        return found


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Torch's global generators, seeded from `numbers` inside the block and restored behind it."""
    with torch.random.fork_rng():
        torch.manual_seed(prompt_seed(0, numbers))
        yield
