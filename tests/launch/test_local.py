"""The local launcher: a stage in several processes, without Slurm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launch.job import Allocation, Cluster
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
