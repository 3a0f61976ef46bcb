"""Rollouts from a vLLM engine in each training process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.contract import Context
from stages.generation import vllm_engine
from stages.generation.engine import Completion, Engine, Sampling, prompt_seed
from stages.grpo import Config
from stages.modeling.checkpoint import device
from stages.training import ranks
from stages.training.rollouts import Beat, Rollouts
from stages.training.whole_weights import parameters


class Colocated(Rollouts):
    """A vLLM engine in each training process, on the same GPU."""

    def __init__(
        self, policy: PreTrainedModel, config: Config, tokenizer: PreTrainedTokenizerBase, context: Context, beat: Beat
    ) -> None:
        super().__init__(policy, config)
        self._rank = context.rank
        # Without its memory an engine cannot keep its weights; a CPU's has no such mode.
        self._sleeps = context.resources.sleep and device().type == "cuda"
        options: dict[str, Any] = {"enable_sleep_mode": True} if self._sleeps else {}
        llm = vllm_engine.start(
            context.inputs["checkpoint"],
            dtype=config.engine_dtype,
            positions=config.max_prompt + config.max_new_tokens,
            sequences=config.prompts * config.completions // context.world,
            **options,
            **_beside(context),
        )
        _listen(llm, beat)
        self._own = vllm_engine.VllmEngine(llm, tokenizer, policy.generation_config)
        self._asleep = False
        self._rest()
        ranks.wait()

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, step: int) -> list[list[Completion]]:
        # Of this engine's own generator: a run that goes on repeats what it drew.
        own = seeded(self._config.seed, step, self._rank) if sampling.seed is None else contextlib.nullcontext()
        with own:
            found = super().generate(prompts, sampling, step)
        self._rest()
        return found

    def _engine(self) -> Engine:
        return self._own

    def _sync(self) -> None:
        def update() -> None:
            self._own.update(parameters(self._policy))

        if self._asleep:
            torch.cuda.empty_cache()  # what the trainer does not use any more is in the engine's way
            self._own.wake(update)
            self._asleep = False
        else:
            update()

    def _rest(self) -> None:
        if self._sleeps:
            self._own.sleep()
            self._asleep = True
            self._synced = None  # sleeping, it has no weights


@contextlib.contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Torch's global generators, seeded from `numbers` inside the block and restored behind it."""
    with torch.random.fork_rng():
        torch.manual_seed(prompt_seed(0, numbers))
        yield


def _beside(context: Context) -> dict[str, Any]:
    """How an engine shares the devices with a trainer; with several ranks each has an engine in their process group."""
    options: dict[str, Any] = {}
    if device().type == "cuda":
        options["gpu_memory_utilization"] = context.resources.engine_memory
    if context.world > 1:
        options["distributed_executor_backend"] = "external_launcher"
        options["seed"] = context.rank
    return options


def _listen(llm: Any, beat: Beat) -> None:
    """Hear of every step of an engine: a rollout may take long, and one that hangs does not end."""
    step = llm.llm_engine.step

    def heard() -> Any:
        beat("rollout")
        return step()

    llm.llm_engine.step = heard
