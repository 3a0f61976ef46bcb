"""The cluster is a real one, in each of the modes that real sites have."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, SlurmError, users

LONG = "sleep 600"
# What --exclusive is for: two of these cannot share n1.
ALL_OF_N1 = ("--nodelist=n1", "--exclusive")


def test_a_job_of_this_process_runs_and_finishes(slurm: Cluster, tmp_path: Path) -> None:
    command = ["sbatch", "--parsable", f"--output={tmp_path}/out", "--wrap=echo $SLURMD_NODENAME"]
    job = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    slurm.wait_for(job, "COMPLETED")
    assert (tmp_path / "out").read_text() == "n1\n"


def test_a_job_gets_the_gpus_that_it_asks_for(slurm: Cluster) -> None:
    visible = slurm.run("srun", "--gpus=8", "printenv", "CUDA_VISIBLE_DEVICES")
    assert visible == "0,1,2,3,4,5,6,7"


def test_sacct_remembers(slurm: Cluster) -> None:
    job = slurm.submit(wrap="exit 3")
    slurm.wait_for(job, "FAILED")
    wanted = ("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}", "--format=State,ExitCode")
    slurm.wait_until(lambda: slurm.run(*wanted) == "FAILED|3:0")


def test_a_quality_of_service_limits_what_is_submitted(slurm: Cluster) -> None:
    for _ in range(3):
        slurm.submit("--qos=tight", wrap=LONG)
    with pytest.raises(SlurmError, match="QOSMaxSubmitJobPerUserLimit"):
        slurm.submit("--qos=tight", wrap=LONG)


@pytest.mark.parametrize(("partition", "then"), [("low", "PENDING"), ("scavenge", "PREEMPTED")])
def test_a_preempted_job_is_requeued_or_cancelled(slurm: Cluster, partition: str, then: str) -> None:
    victim = slurm.submit(*ALL_OF_N1, f"--partition={partition}", wrap=LONG)
    slurm.wait_for(victim, "RUNNING")
    slurm.submit(*ALL_OF_N1, "--partition=high", wrap=LONG)
    slurm.wait_for(victim, then)


def test_a_node_without_power_is_noticed_and_its_job_is_requeued(slurm: Cluster) -> None:
    job = slurm.submit("--nodelist=n2", wrap=LONG)
    slurm.wait_for(job, "RUNNING")
    slurm.kill_node("n2")
    slurm.wait_until(lambda: slurm.node_state("n2").startswith("down"))
    assert slurm.state(job) == "PENDING"
    slurm.start_node("n2")
    slurm.wait_for(job, "RUNNING")


def test_queued_and_running_jobs_survive_a_restart_of_the_controller(slurm: Cluster) -> None:
    running = slurm.submit(wrap=LONG)
    held = slurm.submit("--hold", wrap="true")
    slurm.wait_for(running, "RUNNING")
    slurm.stop_controller()
    slurm.start_controller()
    assert slurm.state(running) == "RUNNING"
    slurm.run("scontrol", "release", held)
    slurm.wait_for(held, "COMPLETED")


@pytest.mark.skipif(not users(), reason="only root makes users")
def test_other_users_run_jobs(slurm: Cluster) -> None:
    assert slurm.run("srun", "--chdir=/", "id", "--user", "--name", user="alice") == "alice"


def test_without_accounting_sacct_is_disabled(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(accounting=False)
    cluster.wait_for(cluster.submit(wrap="true"), "COMPLETED")
    with pytest.raises(SlurmError, match="Slurm accounting storage is disabled"):
        cluster.run("sacct")


def test_a_finished_job_is_purged(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(accounting=False, min_job_age=2)
    job = cluster.submit(wrap="true")
    cluster.wait_for(job, "UNKNOWN")


@pytest.mark.skipif(not users(), reason="only root makes users")
def test_private_jobs_are_their_owners(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(accounting=False, private=True)
    job = cluster.submit(wrap=LONG, user="alice")
    queue = ("squeue", "--noheader", "--format=%A")
    assert cluster.run(*queue, user="alice") == job
    assert cluster.run(*queue, user="bob") == ""


def test_two_clusters_at_once(make_cluster: Callable[..., Cluster]) -> None:
    first, second = make_cluster(accounting=False), make_cluster(accounting=False)
    job = first.submit(wrap=LONG)
    assert first.state(job) in ("PENDING", "RUNNING")
    assert second.state(job) == "UNKNOWN"


def test_stop_leaves_no_process(make_cluster: Callable[..., Cluster]) -> None:
    cluster = make_cluster(accounting=False)
    job = cluster.submit(wrap="env --ignore-environment setsid sleep 617 & sleep 617")
    cluster.wait_until(lambda: len(processes("sleep 617")) == 2)
    assert any(f"[{job}.batch]" in line for line in processes("slurmstepd"))
    cluster.stop()
    assert processes(str(cluster.folder)) == processes("sleep 617") == []


def processes(words: str) -> list[str]:
    """The command lines with these words in them."""
    every = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
    return [line for line in every.splitlines() if words in line and not line.startswith("ps ")]
