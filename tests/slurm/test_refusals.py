"""What Slurm, or the machine, does not take: one message in the site's own words, and nothing left behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch import order, queue
from orchestrator.refusal import ConfigError
from tests.slurm.cluster import Cluster
from tests.slurm.head import VARIANTS
from tests.slurm.toy import TRAIN, Toy

pytestmark = pytest.mark.usefixtures("toys")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"partition": "nowhere"}, "invalid partition specified: nowhere"),
        ({"account": "nobodys"}, "Invalid account or account/partition combination specified"),
        ({"gres": "gpu:h100:8"}, "Requested node configuration is not available"),
        ({"gres": "fpga:1"}, "Invalid generic resource"),
        ({"partition": "short", "time": 5}, "Requested time limit is invalid"),
        ({"qos": "golden"}, "Invalid qos specification"),
        ({"cpus": 9}, "CPU count per node can not be satisfied"),
    ],
)
def test_what_slurm_refuses_is_one_message_and_leaves_nothing(
    slurm: Cluster, tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    toy = Toy(slurm, tmp_path / "store", VARIANTS, **given)
    with pytest.raises(ConfigError) as caught:
        toy.run()
    (message,) = caught.value.messages
    assert message.startswith("cluster.stages.toy_base: Slurm refuses the job: ") and words in message
    assert "\n" not in message and "sbatch: error" not in message
    assert nothing_is_left(slurm, toy)


def test_a_later_stage_that_is_refused_takes_the_earlier_ones_back(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", VARIANTS, stages={"toy_probe": {"partition": "nowhere"}})
    with pytest.raises(ConfigError, match=r"cluster\.stages\.toy_probe: Slurm refuses the job: .*nowhere"):
        toy.run()
    slurm.wait_until(lambda: nothing_is_left(slurm, toy))


def nothing_is_left(slurm: Cluster, toy: Toy) -> bool:
    """Whether the queue is empty and no node is claimed."""
    claims = [each.claim for each in toy.plan()]
    return not slurm.run("squeue", "--noheader") and all(each is None or each.released for each in claims)


def test_a_full_queue_is_waited_for(slurm: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = Toy(slurm, tmp_path / "store", VARIANTS, qos="tight")
    assert toy.run("--wait") == 0
    told = capsys.readouterr().err
    assert "QOSMaxSubmitJobPerUserLimit" in told and "trying again in " in told
    assert {entry.state for entry in toy.plan()} == {"done"}


def test_a_machine_without_slurm_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: None) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    toy = Toy(None, tmp_path / "store", TRAIN)
    with pytest.raises(ConfigError) as caught:
        toy.run()
    assert caught.value.messages == [
        "cluster.launcher=slurm: sbatch is not on the PATH; is this a machine of the cluster?"
    ]
    assert [entry.state for entry in toy.plan()] == ["run"] * 3


def test_a_store_that_nodes_do_not_see_is_suspected(make_cluster: Callable[..., Cluster], tmp_path: Path) -> None:
    cluster = make_cluster(accounting=False)
    store = tmp_path / "store"
    store.mkdir()
    cluster.kill_node("n3")
    cluster.start_node("n3", hidden=store)
    toy = Toy(cluster, store, TRAIN, sbatch={"nodelist": "n3"})
    toy.run()
    job = toy.job("toy_base")
    cluster.wait_for(job, "FAILED")
    entry = toy.wait_for("toy_base", "failed")
    assert entry.reason == (
        f"job {job} ended as FAILED (JobLaunchFailure) before it could write anything to {store}: "
        "do compute nodes see it?"
    )


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "unheard"])
def test_a_job_whose_answer_is_lost_is_submitted_once(
    slurm: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, heard: bool
) -> None:
    """What sbatch says when slurmctld is killed while they talk; it may have the job by then, or not."""
    real, once = shutil.which("sbatch"), tmp_path / "once"
    wrapper = tmp_path / "bin" / "sbatch"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f"""#!/bin/sh
if mkdir {once} 2>/dev/null; then
  {f'{real} "$@" >/dev/null' if heard else ":"}
  echo "sbatch: error: Batch job submission failed: Connection reset by peer" >&2
  exit 1
fi
exec {real} "$@"
"""
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")
    toy = Toy(slurm, tmp_path / "store", TRAIN)
    assert toy.run("--wait") == 0
    assert "Connection reset by peer; trying again in " in capsys.readouterr().err
    tokens = {folder.name for folder in order.folders(tmp_path / "store")}
    mine = [entry.token for entry in queue.read([slurm.user]).entries if entry.token in tokens]
    assert len(mine) == len(tokens) == 3
