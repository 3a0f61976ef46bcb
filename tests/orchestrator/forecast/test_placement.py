"""How many processes and GPUs a node gets, here and on Slurm."""

from typing import Any

import pytest

from launch.job import Allocation, Cluster
from orchestrator.forecast import placement


def placed(stage: str, launcher: str = "slurm", there: int | None = 8, **needs: Any) -> tuple[int, int, int, int]:
    """World, GPUs of a process's machine, GPUs of the rollout server, GPUs of the whole job."""
    cluster = Cluster(launcher=launcher, gpus=there, default=Allocation(**needs), stages={})
    found = placement.of(stage, cluster)
    return found.world, found.gpus, found.server, found.held


@pytest.mark.parametrize(
    ("stage", "needs", "expected"),
    [
        ("sft", {"gpus": 8}, (8, 8, 0, 8)),
        ("sft", {"gpus": 8, "nodes": 2}, (16, 8, 0, 16)),
        ("sft", {"gpus": 0, "processes": 2}, (2, 0, 0, 0)),
        ("evaluate", {"gpus": 8}, (1, 8, 0, 8)),
        ("sft", {"gpus": 8, "rollouts": "server", "rollout_gpus": 2}, (8, 8, 0, 8)),
        ("grpo", {"gpus": 8, "rollouts": "server", "rollout_gpus": 2}, (6, 6, 2, 8)),
        ("grpo", {"gpus": 8, "nodes": 3, "rollouts": "server", "rollout_nodes": 1}, (16, 8, 8, 24)),
        ("grpo", {"gpus": 8, "nodes": 2, "rollouts": "server", "rollout_gpus": 2}, (12, 6, 4, 16)),
    ],
)
def test_on_slurm(stage: str, needs: dict[str, Any], expected: tuple[int, int, int, int]) -> None:
    assert placed(stage, **needs) == expected


def test_on_this_machine_there_are_as_many_processes_as_gpus() -> None:
    assert placed("sft", "local", there=2, gpus=8, nodes=4) == (2, 2, 0, 2)
    assert placed("sft", "local", there=0, gpus=8) == (1, 0, 0, 0)
    assert placed("grpo", "local", gpus=4, rollouts="server", rollout_gpus=1) == (3, 3, 1, 4)


def test_in_the_heads_own_process_there_is_one() -> None:
    assert placed("sft", "inline", gpus=4, processes=4) == (1, 4, 0, 4)


def test_a_stage_that_nobody_knows_is_one_process() -> None:
    assert placed("nobody", gpus=4) == (1, 4, 0, 4)
