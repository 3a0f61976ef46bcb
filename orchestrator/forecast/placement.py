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
    if stage not in contract.names():  # a plan may have nodes of a stage that is no more
        return Placement(machines=1, ranks=1, gpus=needs.gpus)
    module, ranks, alone = contract.load(stage), needs.ranks(stage), needs.servers(stage)
    serves = getattr(module, "SERVES", False) and needs.rollouts == "server"
    if cluster.launcher == "slurm":
        machines = needs.nodes if getattr(module, "DISTRIBUTED", False) else 1
        if alone:
            return Placement(machines=machines - alone, ranks=ranks, gpus=needs.gpus, server=alone * needs.gpus)
        beside = needs.rollout_gpus if serves else 0
        return Placement(machines=machines, ranks=ranks, gpus=needs.gpus - beside, server=machines * beside)
    gpus = min(needs.gpus, cluster.gpus if cluster.gpus is not None else len(visible_gpus()))
    if cluster.launcher == "inline":
        return Placement(machines=1, ranks=1, gpus=gpus)
    server = min(needs.rollout_gpus, max(0, gpus - 1)) if serves else 0
    if needs.gpus:  # as far as there are GPUs
        ranks = min(ranks, max(1, gpus - server))
    return Placement(machines=1, ranks=ranks, gpus=gpus - server, server=server)
