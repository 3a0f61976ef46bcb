"""Where a node of a stage runs: its processes, their GPUs, and those of a rollout server."""

from __future__ import annotations

from dataclasses import dataclass

from launch.job import Allocation, Cluster
from launch.local import visible_gpus
from stages import contract


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Processes and GPUs of one job.

    Attributes:
        machines: on which the stage's own processes are.
        ranks: of them on each of these machines.
        gpus: of each of these machines that the processes have; a process that is alone has all of them.
        server: GPUs of the rollout server, on all of its machines.
    """

    machines: int
    ranks: int
    gpus: int
    server: int = 0

    @property
    def world(self) -> int:
        """All processes."""
        return self.machines * self.ranks

    @property
    def held(self) -> int:
        """All GPUs that the job holds while it runs."""
        return self.machines * self.gpus + self.server


def of(stage: str, cluster: Cluster, needs: Allocation | None = None) -> Placement:
    """That of a stage's jobs on a cluster, with what it asks for there, or with other `needs`."""
    needs = needs or cluster.needs(stage)
    distributed = stage in contract.names() and getattr(contract.load(stage), "DISTRIBUTED", False)
    serves = distributed and needs.rollouts == "server"
    ranks = needs.ranks(distributed)
    if cluster.launcher == "slurm":
        machines = needs.nodes - (needs.rollout_nodes if serves else 0) if distributed else 1
        alone = serves and needs.rollout_nodes > 0
        server = needs.rollout_nodes * needs.gpus if alone else needs.nodes * needs.rollout_gpus if serves else 0
        gpus = needs.gpus - (0 if alone or not serves else needs.rollout_gpus)
        return Placement(machines=machines, ranks=ranks, gpus=gpus, server=server)
    there = cluster.gpus if cluster.gpus is not None else len(visible_gpus())
    gpus = min(needs.gpus, there)
    server = min(needs.rollout_gpus, max(0, gpus - 1)) if serves else 0
    if cluster.launcher == "inline":
        return Placement(machines=1, ranks=1, gpus=gpus)
    if needs.gpus:  # as far as there are GPUs
        ranks = min(ranks, max(1, gpus - server))
    return Placement(machines=1, ranks=ranks, gpus=gpus - server, server=server)
