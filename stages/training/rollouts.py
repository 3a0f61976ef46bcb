"""Where a GRPO run's completions come from: an engine in this process, or a server's; either with the policy's weights.

Which it is, and how many processes there are, is a matter of resources: a completion has the same distribution
everywhere, and with `rollout_seeds: each` is the same one, but for rounding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.contract import Context, StageError
from stages.generation.engine import Completion, Engine, Sampling
from stages.generation.transformers_engine import TransformersEngine
from stages.grpo import Config

Beat = Callable[[str], None]


class Rollouts(ABC):
    """An engine that has the policy's weights whenever it generates. It is entered for as long as it is used."""

    def __init__(self, policy: PreTrainedModel, config: Config) -> None:
        """`policy` is the model in training, not wrapped for several processes."""
        self._policy = policy
        self._config = config
        self._synced: int | None = None
        self._ends = ExitStack()

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, step: int) -> list[list[Completion]]:
        """Completions under the policy after `step` optimizer steps. Every rank calls it, with or without prompts."""
        if self._synced != step:
            self._sync()
            self._synced = step
        return self._engine().generate(prompts, sampling)

    @property
    def can_log(self) -> bool:
        """Whether completions come with log-probabilities."""
        return self._config.engine == "vllm"

    @abstractmethod
    def _engine(self) -> Engine:
        """The engine, ready to generate."""

    @abstractmethod
    def _sync(self) -> None:
        """Give the engine the policy's weights."""

    def __enter__(self) -> Rollouts:
        return self

    def __exit__(self, *_: Any) -> None:
        self._ends.close()


class InModel(Rollouts):
    """Generates with the policy itself, by transformers."""

    def __init__(self, policy: PreTrainedModel, config: Config, tokenizer: PreTrainedTokenizerBase, batch: int) -> None:
        super().__init__(policy, config)
        self._own = TransformersEngine(policy, tokenizer, batch=batch)

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, step: int) -> list[list[Completion]]:
        training = self._policy.training
        self._policy.eval()
        try:
            return super().generate(prompts, sampling, step)
        finally:
            self._policy.train(training)

    def _engine(self) -> Engine:
        return self._own

    def _sync(self) -> None:
        """They are the same."""


def make(
    policy: PreTrainedModel, config: Config, tokenizer: PreTrainedTokenizerBase, context: Context, beat: Beat
) -> Rollouts:
    """The rollouts of a run, as its config and its resources say; `beat` is told that something moves."""
    if config.engine == "transformers":
        if context.resources.sharding != "none" and context.world > 1:
            # Every token of every rank would take a collective of all, and they have different numbers of tokens.
            raise StageError("engine: transformers cannot generate with a sharded policy; set vllm, or no sharding")
        return InModel(policy, config, tokenizer, context.resources.per_device_batch)
    if context.resources.rollouts == "server":
        from stages.training.rollouts_served import Served

        return Served(policy, config, context, beat)
    from stages.training.rollouts_colocated import Colocated

    return Colocated(policy, config, tokenizer, context, beat)
