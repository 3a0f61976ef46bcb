"""The contract of a stage: what its module exports, what it may know, and how a node becomes one.

A stage is one light module `stages/<name>.py`. It exports

    VERSION: int                      raised by hand when a change of the code may change a number of its output (what
                                      was made before is then made again); not for one that cannot. `plan` and `status`
                                      name what other code of the same VERSION made.
    Config                            a flat, frozen, keyword-only pydantic dataclass: the science, nothing else
    MAKES: tuple[str, ...]            the kinds of artifact it makes ("checkpoint", "attribution", "evaluation")
    takes(config) -> tuple[str, ...]  the kinds it takes from its chain, in the order they are needed
    run(config, context) -> dict      the work; returns the numbers that summarise it (JSON values)

and, where they apply,

    CONTINUES: str                    the integer field along which a node continues a smaller one ("epochs")
    SHARES: tuple[str, ...]           input kinds that, when equal, let several nodes run in one job
    DISTRIBUTED: bool                 runs as one process per GPU, each calling `run`, under torch.distributed
    SAVES: bool                       saves when `context.stopping()`, raises Interrupted, and continues from there
    SERVES: bool                      machines of a job may serve the others: those call `serve(config, context)`
    check(config) -> list[str]        what the types of the fields cannot say ("batch: 30 is not ... ")
    fits(config, resources, world) -> list[str]   what keeps it from running so, in `world` processes

torch, transformers, trl, vllm and datasets are imported inside `run` only, from the folders below `stages/`.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

import stages
from stages import artifact
from stages.progress import Progress
from stages.saved import Saved

#: The light modules beside the stages that are not stages themselves.
_NOT_STAGES = {
    "artifact",
    "batches",
    "content",
    "contract",
    "headers",
    "hub",
    "identity",
    "jsonfile",
    "lifeline",
    "listing",
    "meeting_place",
    "model_config",
    "own",
    "part",
    "problems",
    "progress",
    "prompts",
    "remote_code",
    "route",
    "rows",
    "saved",
    "spoilt",
    "store",
    "tokenizer_files",
    "weight_files",
}


#: A seed: what every generator of random numbers takes, numpy's and the trainers' too.
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class StageError(Exception):
    """A stage cannot go on, and the reason is the user's to mend: shown as one message, without a traceback."""


class Lost(StageError):
    """A stage lost what it worked with (a process, a connection), and may well succeed if it is started again."""


class Interrupted(Exception):
    """A stage was asked to stop (`context.stopping()`), has saved what it had, and can be continued."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a node, as the stage sees it.

    `path` is the folder of a published artifact, or the file or folder of a source; None for a hub source,
    which has `hub` (its id) and `revision` (a commit) instead. `reading` says how rows are read from a data
    source (`file`, `config`, `split`, `fields`; see `stages.rows`) and is empty for everything else.
    """

    fingerprint: str
    path: Path | None
    hub: str | None = None
    revision: str | None = None
    reading: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """What `from_pretrained` is given: the artifact's `model/`, the folder itself, or the hub id."""
        if self.path is None:
            assert self.hub is not None
            return self.hub
        nested = self.path / "model"
        return str(nested if nested.is_dir() else self.path)


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Resources:
    """How a node is run, never what it computes: nothing here is part of any fingerprint.

    conf/cluster/*.yaml says it, for all stages and for each.

    Attributes:
        cpus: threads of each process; also what the local launcher counts.
        gpus: GPUs on each machine.
        per_device_batch: sequences per device in one forward pass; only memory and speed depend on it.
        graders: worker processes that grade answers.
        tensor_parallel: GPUs that hold one copy of a model which generates.
        replicas: copies of that model, which share the prompts; null for as many as the GPUs hold (one without GPUs).
        sharding: of a training over its processes: `none` keeps all of it in each (DDP), `fsdp2` cuts parameters,
            gradients and optimizer into equal parts.
        checkpointing: whether activations are computed again in the backward pass; null for on GPUs alone.
        rollouts: where the engine of a GRPO run is: `colocate`, in the training processes; `server`, in a process of
            its own, which has `rollout_gpus`.
        rollout_gpus: GPUs of the rollout server on each of its machines.
        engine_memory: share of a GPU's memory for a colocated engine.
        sleep: whether a colocated engine gives its memory back while the policy is trained.
        patience: seconds without any progress after which a training counts as hung, and is stopped.
    """

    cpus: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[int, Field(ge=0)] = 0
    per_device_batch: Annotated[int, Field(ge=1)] = 32
    graders: Annotated[int, Field(ge=1)] = 1
    tensor_parallel: Annotated[int, Field(ge=1)] = 1
    replicas: Annotated[int, Field(ge=1)] | None = None
    sharding: Literal["none", "fsdp2"] = "none"
    checkpointing: bool | None = None
    rollouts: Literal["colocate", "server"] = "colocate"
    rollout_gpus: Annotated[int, Field(ge=0)] = 0
    engine_memory: Annotated[float, Field(gt=0, lt=1)] = 0.3
    sleep: bool = False
    patience: Annotated[int, Field(ge=1)] = 1800

    @property
    def copies(self) -> int:
        """Copies of a model that generate side by side."""
        return self.replicas or max(1, self.gpus // self.tensor_parallel)


def _exit(message: str) -> None:
    """End this process, whatever its threads are doing."""
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything a stage may know besides its Config. Nothing else is global.

    Attributes:
        inputs: kind -> input, for the kinds that `takes` named.
        continues: the published artifact of the same recipe with the largest smaller value of `CONTINUES`
            whose training state is still there, and that value; None to start from the beginning.
        work: folder for what is unfinished; it survives a restart of the same node.
        output: empty folder; published whole when `run` returns.
        state: folder beside the outputs for what may be deleted later (optimizer, RNG); not hashed.
        resources: how to run.
        progress: reports steps and metrics to whoever watches.
        log: takes a row of a training's curve as it is made, with its `step`, and what curve that is: `train` or
            `validation`. Rows of earlier attempts may come again: each step is taken once.
        stopping: whether the stage has been asked to save and stop (the time limit is near, or others need the GPUs).
        abandon: ends this process and leaves a message, from any thread: for a stage that found itself hung. Whoever
            started it may start it again.
        rank: of this process among those of a DISTRIBUTED stage. Rank 0 alone writes `output`.
        world: how many processes there are.
        local_rank: of this process among those of its machine.
        listener: the descriptor of the socket at which rank 0 meets the others; it is bound, so nobody can take its
            port. None where the ranks meet by the environment alone.
        session: a name that all processes of one start of a stage have in common, and no other start has.
        servers: machines that serve rollouts alone (see `serve`).
        node: the folder of the node that is run; None where `work` lies in it.
        shared: objects kept between the nodes of one job (a loaded engine), by key.
    """

    inputs: Mapping[str, Input]
    work: Path
    output: Path
    resources: Resources
    progress: Progress
    log: Callable[[str, Mapping[str, Any]], None] = lambda kind, row: None
    stopping: Callable[[], bool] = lambda: False
    abandon: Callable[[str], None] = _exit
    rank: int = 0
    world: int = 1
    local_rank: int = 0
    listener: int | None = None
    session: str = "alone"
    servers: int = 0
    node: Path | None = None
    continues: tuple[int, Path] | None = None
    shared: dict[Any, Any] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.output / artifact.STATE

    @property
    def saved(self) -> Saved:
        """What this node recorded as saved: a stage that SAVES records there, and asks for `lost` when it starts."""
        return Saved(self.work.parent)

    @property
    def meeting_place(self) -> Path:
        """A folder where only this user can write: for what the processes of this node tell each other.

        Raises:
            StageError: somebody else can.
        """
        from stages import meeting_place  # which has this module's errors

        return meeting_place.of(self.node or self.work.parent)

    def share(self, key: Any, make: Callable[[], Any]) -> Any:
        """The object of this job under `key`, made by the first node that asks for it."""
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]


def names() -> list[str]:
    """All stages, by module name: a new file in `stages/` is a legal stage, no registry to edit."""
    return list(_names(tuple(stages.__path__)))


def load(name: str) -> ModuleType:
    """The module of the stage `name`, which must be one of `names()`."""
    assert name in names(), name
    return importlib.import_module(f"stages.{name}")


@functools.cache  # by path: to list a folder takes longer than everything else that is done for a node
def _names(path: tuple[str, ...]) -> tuple[str, ...]:
    found = (module.name for module in pkgutil.iter_modules(path) if not module.ispkg)
    return tuple(sorted(name for name in found if name not in _NOT_STAGES))
