"""Rollouts from a vLLM engine in a process of its own, on GPUs or machines that do nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel

from stages import route
from stages.contract import Context, Lost
from stages.generation import served, server
from stages.generation.engine import Completion, Engine, Sampling
from stages.generation.server import Opening, Server
from stages.grpo import Config
from stages.modeling.checkpoint import DTYPES
from stages.training import ranks
from stages.training.rollouts import Beat, Rollouts
from stages.training.whole_weights import parameters, write

#: A file system in memory, where weights for a server on this machine go if they fit.
MEMORY = Path("/dev/shm")


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
        tokens = self._policy.config.vocab_size
        self._served = served.connect(self._place, self._patience, tokens=tokens, check=self._check, heard=heard)
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
        # The server takes whatever is there: nobody else may put another folder into its place.
        parent = MEMORY if fits and not self._context.servers else self._context.meeting_place
        with tempfile.TemporaryDirectory(prefix="weights-", dir=parent) as folder:
            yield Path(folder)


def serve(config: Config, context: Context) -> None:
    """Serve rollouts on a machine that does nothing else; `context.rank` is the server's number."""
    ip = route.towards(os.environ["MASTER_ADDR"])
    server.serve(opening(config, context), place(context, context.rank), context.resources.patience, ip)


def opening(config: Config, context: Context) -> Opening:
    """The engine of a server: on the GPUs that are left for it, or on all of a machine of its own."""
    resources = context.resources
    if not context.servers:
        resources = replace(resources, gpus=resources.rollout_gpus)
    return Opening(source=context.inputs["checkpoint"], engine="vllm", dtype=config.engine_dtype, resources=resources)


def place(context: Context, index: int) -> Path:
    """Where server `index` says where it is; another one for every start of the stage."""
    return context.meeting_place / f"rollouts-{context.session}-{index}.json"


def _spare(context: Context) -> str:
    """`CUDA_VISIBLE_DEVICES` of a server on this machine: the last of the job's GPUs, which no rank takes."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    every = visible.split(",") if visible is not None else [str(number) for number in range(context.resources.gpus)]
    kept = [name for name in every if name][context.resources.gpus - context.resources.rollout_gpus :]
    return ",".join(kept)
