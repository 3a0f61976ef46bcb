"""Jobs: what is launched. One job is one process that runs one node, or several that share a loaded model."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from stages import contract
from stages.contract import Resources


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Allocation(Resources):
    """What a job asks for: a class of resources, as conf/cluster/*.yaml describes it.

    Attributes:
        nodes: machines.
        processes: of a stage that is DISTRIBUTED, on each machine; null for one per GPU. Others are one process.
        time: minutes after which Slurm ends the job.
        memory: GB on each machine; null for the site's default.
        partition, account, qos, constraint: as `sbatch` takes them; null for the site's default.
        gres: what to ask for instead of `gpu:<gpus>`, for example `gpu:a100:8`.
        at_once: elements of a job array that may run at the same time; null for all.
        segments: jobs that a stage may take one after the other, where the site lets no job requeue itself.
        sbatch: further options of `sbatch`, long name -> value.
        rollout_nodes: machines of them that a rollout server has to itself; the policy is trained on the others.
        gpu_memory: GB of one GPU; null: not known, and a plan refuses nothing for lack of it.
        gpu_tflops: dense bfloat16 TFLOP/s of one GPU, as its maker gives them; null: not known, and a plan counts GPU
            hours from records alone.
    """

    nodes: Annotated[int, Field(ge=1)] = 1
    processes: Annotated[int, Field(ge=1)] | None = None
    time: Annotated[int, Field(ge=1)] = 60
    memory: Annotated[float, Field(gt=0)] | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: str | None = None
    at_once: Annotated[int, Field(ge=1)] | None = None
    segments: Annotated[int, Field(ge=1)] = 1
    sbatch: dict[str, str | int | bool] = Field(default_factory=dict)
    rollout_nodes: Annotated[int, Field(ge=0)] = 0
    gpu_memory: Annotated[float, Field(gt=0)] | None = None
    gpu_tflops: Annotated[float, Field(gt=0)] | None = None

    @property
    def seen(self) -> Resources:
        """The part of it that a stage sees."""
        return Resources(**{each.name: getattr(self, each.name) for each in fields(Resources)})

    def ranks(self, stage: str) -> int:
        """Processes of a stage on each machine; a rollout server beside them takes its GPUs from theirs."""
        module = contract.load(stage)
        if not getattr(module, "DISTRIBUTED", False):
            return 1
        spare = self.rollout_gpus if getattr(module, "SERVES", False) and self.rollouts == "server" else 0
        return self.processes or max(1, self.gpus - spare)

    def servers(self, stage: str) -> int:
        """Machines of a job that serve rollouts to the others."""
        serves = getattr(contract.load(stage), "SERVES", False) and self.rollouts == "server"
        return self.rollout_nodes if serves else 0


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Cluster:
    """conf/cluster/*.yaml: where jobs run and with which resources. Never part of a fingerprint.

    Attributes:
        launcher: `inline` (in the head's own process, one after the other), `local` (processes of this machine) or
            `slurm` (jobs of a Slurm cluster, submitted all at once).
        wait: on Slurm, stay until everything is done; else the head ends once everything is submitted.
        cpus: cores that jobs may use together on this machine; null for all that this process may use.
        gpus: GPUs that jobs may use together on this machine; null for all that are visible.
        grace: seconds before a job's time limit at which it is told to save and stop.
        default: what a class of resources does not say.
        classes: name -> class of resources (in the YAML only the fields that differ from the default).
        stages: stage -> the resources of its jobs (in the YAML the name of a class, or a mapping of `class` and the
            fields that differ from it). A stage that is not named gets the default.
    """

    launcher: Literal["inline", "local", "slurm"]
    wait: bool = False
    cpus: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[int, Field(ge=0)] | None = None
    grace: Annotated[int, Field(ge=1)] = 120
    default: Allocation
    classes: dict[str, Allocation] = Field(default_factory=dict)
    stages: dict[str, Allocation]

    def needs(self, stage: str) -> Allocation:
        """What a job of a stage asks for."""
        return self.stages.get(stage, self.default)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Nodes to run in one job of this machine, as one process or as one for each rank, printing to `log`."""

    folders: tuple[Path, ...]
    resources: Allocation
    log: Path
    ranks: int = 1


class Handle(Protocol):
    """A job that was started. `pid`: of its process, which is the worker's if the job has one."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None:
        """The exit code, or None while the job runs."""

    def stop(self) -> None:
        """End the job now. What it had published stays; what it had not is continued next time."""


class Launcher(Protocol):
    """Starts jobs."""

    def room(self, resources: Allocation) -> bool:
        """Whether a job with these resources may start now."""

    def start(self, job: Job) -> Handle:
        """Start a job for which there is room."""
