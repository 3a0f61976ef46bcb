"""The local launcher: a stage in several processes, without Slurm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launch import local
from launch.job import Allocation, Cluster
from orchestrator import clusters
from orchestrator.run import Outcome, Run
from stages.store import Store
from tests.conftest import study

pytestmark = pytest.mark.usefixtures("toys")


def carry_out(store: Path, **ranks: Any) -> tuple[Outcome, Store]:
    """Run toy_ranks in two processes of this machine."""
    _, graph, found = study(store, {"A": [{"toy_ranks": {"steps": 3, **ranks}}]})
    store.mkdir(exist_ok=True)
    here = Cluster(launcher="local", cpus=2, gpus=0, default=Allocation(processes=2), stages={})
    return Run(graph, found, here, lambda run: None).carry_out(), found


def test_a_distributed_stage_is_as_many_processes_as_it_is_given(tmp_path: Path) -> None:
    outcome, store = carry_out(tmp_path / "store")
    assert not outcome.failed
    (node,) = (node for node in outcome.executed if node.stage == "toy_ranks")
    record = store.record(node.stage, node.fingerprint)
    assert record is not None and record["attempts"] == 1
    (start,) = record["summary"]["starts"]
    seen = [(rank["RANK"], rank["WORLD_SIZE"], rank["LOCAL_RANK"], rank["LOCAL_WORLD_SIZE"]) for rank in start["ranks"]]
    assert seen == [("0", "2", "0", "2"), ("1", "2", "1", "2")]


def test_a_rank_that_fails_ends_the_others_with_its_message(tmp_path: Path) -> None:
    outcome, _ = carry_out(tmp_path / "store", fails=1)
    ((node, messages, _),) = outcome.failed.values()
    assert (node.stage, messages) == ("toy_ranks", ["toy_ranks.fails=1: so it does"])


@pytest.mark.parametrize("killed", [1, 99])
def test_a_rank_that_is_killed_is_said_and_the_node_tried_again_a_few_times(tmp_path: Path, killed: int) -> None:
    """Whoever is first says so: a rank that loses the killed one, or what has started both."""
    outcome, store = carry_out(tmp_path / "store", killed=killed)
    said = [message for _, messages in outcome.again for message in messages]
    if killed == 1:
        (node,) = (node for node in outcome.executed if node.stage == "toy_ranks")
        record = store.record(node.stage, node.fingerprint)
        assert record is not None and record["attempts"] == 2 and len(said) == 1
    else:
        ((_, [message], _),) = outcome.failed.values()
        assert message.endswith("(3 times without progress)")
        said.append(message)
    lost = "rank 0 lost another process of this stage, which left no message: Connection closed by peer"
    assert all(each.startswith((lost, "rank 1 was killed by signal 9")) for each in said)


def smi(folder: Path, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's nvidia-smi with two GPUs, which this machine does not have."""
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{says}\n")
    (folder / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")


def test_the_memory_of_gpus_is_that_of_the_smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path / "bin", "printf '81559\\n40960\\n'", monkeypatch)
    assert local.gpu_memory() == pytest.approx(42.9, abs=0.1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert local.gpu_memory() is None


@pytest.mark.parametrize("says", ["exit 9", "echo '[N/A]'"])
def test_a_driver_that_does_not_say_it_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    smi(tmp_path / "bin", says, monkeypatch)
    assert local.gpu_memory() is None


def test_a_cluster_that_is_this_machine_knows_its_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path / "bin", "echo 81920", monkeypatch)
    stages = {"sft": Allocation(gpus=8), "grpo": Allocation(gpus=8, gpu_memory=40), "rejuvenate": Allocation()}
    here = Cluster(launcher="local", default=Allocation(), stages=stages)
    found = {name: needs.gpu_memory for name, needs in clusters.completed(here).stages.items()}
    assert found == {"sft": pytest.approx(85.9, abs=0.1), "grpo": 40, "rejuvenate": None}
    elsewhere = Cluster(launcher="slurm", default=Allocation(), stages=stages)
    assert clusters.completed(elsewhere) == elsewhere
