"""Jobs: what is launched. One job is one process that runs one node, or several that share a loaded model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from stages.contract import Resources


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Cluster:
    """conf/cluster/*.yaml: where jobs run and with which resources. Never part of a fingerprint.

    Attributes:
        launcher: `inline` (in the head's own process, one after the other) or `local` (processes of this machine).
        cpus: cores that jobs may use together; null for all that this process may use.
        gpus: GPUs that jobs may use together; null for all that are visible.
        default: what a stage needs unless `stages` names it.
        stages: stage -> what it needs instead (in the YAML only the fields that differ).
    """

    launcher: Literal["inline", "local"]
    cpus: Annotated[int, Field(ge=1)] | None
    gpus: Annotated[int, Field(ge=0)] | None
    default: Resources
    stages: dict[str, Resources]

    def needs(self, stage: str) -> Resources:
        """The resources of a stage."""
        return self.stages.get(stage, self.default)


@dataclass(frozen=True, kw_only=True)
class Job:
    """A process to start: `python -m launch.worker FOLDER...`, printing to `log`."""

    folders: tuple[Path, ...]
    resources: Resources
    log: Path


class Handle(Protocol):
    """A job that was started."""

    def poll(self) -> int | None:
        """The exit code, or None while the job runs."""

    def stop(self) -> None:
        """End the job now. What it had published stays; what it had not is continued next time."""


class Launcher(Protocol):
    """Starts jobs."""

    def room(self, resources: Resources) -> bool:
        """Whether a job with these resources may start now."""

    def start(self, job: Job) -> Handle:
        """Start a job for which there is room."""
