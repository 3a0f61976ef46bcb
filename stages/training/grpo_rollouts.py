"""Where a GRPO run's completions come from: an engine in this process, or a server's; either with the policy's weights.

Which it is, and how many processes there are, is a matter of resources: a completion has the same distribution
everywhere, and with `rollout_seeds: each` is the same one, but for rounding.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stages.contract import Context, Lost, StageError
from stages.generation import server
from stages.generation.engine import Completion, Engine, Sampling, prompt_seed
from stages.generation.server import Opening, Server
from stages.generation.transformers_engine import TransformersEngine
from stages.grpo import Config
from stages.modeling.checkpoint import DTYPES, device
from stages.training import ranks

#: Bytes of weights that are written to one file for a server.
SHARD = 2 << 30
#: A file system in memory, where weights for a server on this machine go if they fit.
MEMORY = Path("/dev/shm")

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


class Colocated(Rollouts):
    """A vLLM engine in each training process, on the same GPU."""

    def __init__(
        self, policy: PreTrainedModel, config: Config, tokenizer: PreTrainedTokenizerBase, context: Context, beat: Beat
    ) -> None:
        from stages.generation import vllm_engine

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


class Served(Rollouts):
    """A vLLM engine in a process of its own, on GPUs of its own, which all training processes of a machine share; or on
    machines of its own, which all share.

    Weights go there as files: one process for each server gathers and writes them, in memory where that is possible.
    """

    def __init__(self, policy: PreTrainedModel, config: Config, context: Context, beat: Beat) -> None:
        super().__init__(policy, config)
        self._context = context
        self._beat = beat
        self._server: Server | None = None
        index = context.rank % context.servers if context.servers else context.rank - context.local_rank
        self._place = place(context, index)
        # The process that gives the server its weights: the first that has it.
        self._owns = context.rank < context.servers if context.servers else context.local_rank == 0

    def __enter__(self) -> Served:
        if self._owns and not self._context.servers:
            devices = _spare(self._context)
            own = Server(opening(self._config, self._context), self._place, devices, self._patience)
            self._server = self._ends.enter_context(own)
        heard = partial(self._beat, "rollout")
        self._served = server.connect(self._place, self._patience, check=self._check, heard=heard)
        self._ends.callback(self._served.close)
        return self

    def generate(self, prompts: Sequence[list[int]], sampling: Sampling, step: int) -> list[list[Completion]]:
        try:
            return super().generate(prompts, sampling, step)
        except Lost:
            self._check()  # which knows more of a server that has ended
            raise

    def _check(self) -> None:
        """Raise if a server of this process has ended."""
        if self._server is not None:
            self._server.check()

    @property
    def _patience(self) -> float:
        return self._context.resources.patience

    def _engine(self) -> Engine:
        return self._served

    def _sync(self) -> None:
        with self._folder() as folder:
            write(parameters(self._policy), folder, self._config.engine_dtype)
            if folder is not None:
                self._served.reload(folder)
        ranks.wait()

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path | None]:
        """A folder for weights, gone afterwards; None in a process that only helps to gather them."""
        if not self._owns:
            yield None
            return
        size = self._policy.num_parameters() * DTYPES[self._config.engine_dtype].itemsize
        fits = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2 * size
        parent = MEMORY if fits and not self._context.servers else self._context.work
        with tempfile.TemporaryDirectory(prefix="weights-", dir=parent) as folder:
            yield Path(folder)


def make(
    policy: PreTrainedModel, config: Config, tokenizer: PreTrainedTokenizerBase, context: Context, beat: Beat
) -> Rollouts:
    """The rollouts of a run, as its config and its resources say; `beat` is told that something moves."""
    if config.engine == "transformers":
        if context.resources.sharding != "none" and context.world > 1:
            # Every token of every rank would take a collective of all, and they have different numbers of tokens.
            raise StageError(
                "engine: transformers cannot generate with a policy that is sharded; set vllm, or no sharding"
            )
        return InModel(policy, config, tokenizer, context.resources.per_device_batch)
    if context.resources.rollouts == "server":
        return Served(policy, config, context, beat)
    return Colocated(policy, config, tokenizer, context, beat)


def serve(config: Config, context: Context) -> None:
    """Serve rollouts on a machine that does nothing else; `context.rank` is the server's number."""
    server.serve(opening(config, context), place(context, context.rank), context.resources.patience)


def opening(config: Config, context: Context) -> Opening:
    """The engine of a server: on the GPUs that are left for it, or on all of a machine of its own."""
    resources = context.resources
    if not context.servers:
        resources = replace(resources, gpus=resources.rollout_gpus)
    return Opening(source=context.inputs["checkpoint"], engine="vllm", dtype=config.engine_dtype, resources=resources)


def place(context: Context, index: int) -> Path:
    """Where server `index` says where it is; another one for every start of the stage."""
    return context.work / f"rollouts-{context.session}-{index}.json"


def parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and whole values of a model's parameters, one at a time. With sharding, every rank takes all of them."""
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        yield name, value.full_tensor() if isinstance(value, DTensor) else value


def write(found: Iterator[tuple[str, Tensor]], folder: Path | None, dtype: str) -> None:
    """Write parameters in `dtype` as safetensors files of about `SHARD` bytes; without a folder only take them."""
    shard: dict[str, Tensor] = {}
    size = files = 0
    for name, value in found:
        if folder is None:
            continue
        shard[name] = value.to("cpu", DTYPES[dtype]).contiguous()
        size += shard[name].nbytes
        if size >= SHARD:
            save_file(shard, folder / f"model-{files:05d}.safetensors")
            shard, size, files = {}, 0, files + 1
    if shard and folder is not None:
        save_file(shard, folder / f"model-{files:05d}.safetensors")


@contextlib.contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Torch's global generators, seeded from `numbers` inside the block and restored behind it."""
    with torch.random.fork_rng():
        torch.manual_seed(prompt_seed(0, numbers))
        yield


def _spare(context: Context) -> str:
    """`CUDA_VISIBLE_DEVICES` of a server on this machine: the last of the job's GPUs, which no rank takes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    every = visible.split(",") if visible is not None else [str(number) for number in range(context.resources.gpus)]
    kept = [name for name in every if name][context.resources.gpus - context.resources.rollout_gpus :]
    return ",".join(kept)


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
