"""What happens inside a job: time limits, preemption, several processes, and an end that somebody else decides."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from launch.job import Allocation
from launch.job import Cluster as Where
from orchestrator.run import Run
from stages.store import Store
from tests.slurm.cluster import Cluster
from tests.slurm.toy import TRAIN, Toy

pytestmark = pytest.mark.usefixtures("toys")

SLOWLY = {"seconds": 0.25}
SHELL: dict[str, list[Any]] = {"A": [{"toy_shell": {"command": "sleep 60"}}, {"toy_probe": {"digit": 0}}]}


def restarts(slurm: Cluster, job: str) -> int:
    """How often a job was put back into the queue."""
    words = slurm.run("scontrol", "show", "job", "--oneliner", job).split()
    return int(next(word for word in words if word.startswith("Restarts=")).partition("=")[2])


# Time limits


def test_a_training_takes_as_many_jobs_as_it_needs(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", TRAIN, study=SLOWLY)
    assert toy.run() == 0
    train, probe = toy.job("toy_train"), toy.job("toy_probe")
    for time in (1, 2):
        before = toy.saved("toy_train")
        toy.wait_until(lambda before=before: toy.saved("toy_train") > before)  # type: ignore[misc]
        toy.signal("toy_train")
        toy.wait_until(lambda time=time: restarts(slurm, train) == time)  # type: ignore[misc]
        assert toy.entry("toy_train").standing.job == train
        assert toy.entry("toy_probe").standing.job == probe
    slurm.wait_for(probe, "COMPLETED")
    record = toy.record("toy_train")
    assert record["attempts"] == 3
    assert record["summary"] == {"value": 1.5 * 2**12, "continued": False}
    assert "the time limit of 5 min is near" in toy.log("toy_train")


def test_an_element_of_an_array_puts_back_itself_alone(slurm: Cluster, tmp_path: Path) -> None:
    """The last element's own job number is the array's; asked for by that, Slurm would requeue all of them."""
    variants = {name: [{"toy_train": {"epochs": 12, "rate": rate}}] for name, rate in (("A", 2.0), ("B", 3.0))}
    toy = Toy(slurm, tmp_path / "store", variants, study=SLOWLY)
    toy.run()
    first, last = (entry for entry in toy.plan() if entry.node.stage == "toy_train")
    assert last.claim is not None and first.claim is not None and last.claim.job is not None
    assert (first.claim.index, last.claim.index) == (0, 1)
    saved = toy.study.store.job("toy_train", last.node.fingerprint) / "saved.json"
    toy.wait_until(saved.is_file)
    slurm.run("scancel", "--signal=USR2", "--batch", last.claim.job)
    toy.wait_until(lambda: restarts(slurm, str(last.claim and last.claim.job)) == 1)
    toy.wait_until(lambda: all(entry.state == "done" for entry in toy.plan()))
    records = (Store(toy.store).record("toy_train", entry.node.fingerprint) for entry in (first, last))
    assert [record and record["attempts"] for record in records] == [1, 2]


@pytest.mark.slow
def test_slurm_itself_tells_when_the_time_limit_is_near(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", TRAIN, study={"seconds": 6.0}, time=1)
    assert toy.run("--wait") == 0
    record = toy.record("toy_train")
    assert record["attempts"] >= 2  # the signal may come much earlier than asked for
    assert record["summary"]["value"] == 1.5 * 2**12


def test_a_stage_that_saves_nothing_new_does_not_come_back_for_ever(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", {"A": [{"toy_idle": {}}, {"toy_probe": {"digit": 0}}]})
    toy.run()
    toy.wait_until(lambda: toy.entry("toy_idle").state == "running" and "started" in toy.log("toy_idle"))
    toy.signal("toy_idle")
    entry = toy.wait_for("toy_idle", "failed")
    assert entry.reason == (
        "failed before: its time limit of 5 min was reached, and it saved nothing new in all that time; "
        "it needs more of it"
    )
    toy.wait_for("toy_probe", "run")


def test_a_stage_that_does_not_save_says_that_it_needs_more_time(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", SHELL)
    toy.run()
    toy.wait_until((toy.folder("toy_shell") / "work").is_dir)
    toy.signal("toy_shell")
    toy.wait_until((toy.folder("toy_shell") / "error.json").is_file)
    assert toy.entry("toy_shell").state == "running"  # it may still make it
    slurm.run("scancel", toy.job("toy_shell"))
    entry = toy.wait_for("toy_shell", "failed")
    assert entry.reason == (
        "failed before: its time limit of 5 min was reached, and this stage has nothing to continue from; "
        "it needs more time"
    )


def without_scontrol(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH like that of sites that have scontrol on their login nodes only."""
    folder.mkdir()
    for directory in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(directory).iterdir() if Path(directory).is_dir() else ():
            link = folder / program.name
            link.unlink(missing_ok=True)
            link.symlink_to(program)
    (folder / "scontrol").unlink()
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.slow
def test_without_scontrol_the_message_says_so(slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_scontrol(tmp_path / "bin", monkeypatch)
    toy = Toy(slurm, tmp_path / "store", TRAIN, study=SLOWLY)
    toy.run()
    toy.wait_until(lambda: toy.saved("toy_train") > 0)
    toy.signal("toy_train")
    entry = toy.wait_for("toy_train", "failed")
    assert entry.reason == (
        "failed before: its time limit of 5 min was reached, and Slurm does not let the job requeue itself "
        "(scontrol is not on the PATH); the same command continues"
    )
    assert toy.run("--wait") == 0
    assert toy.record("toy_train")["attempts"] == 2


def test_segments_continue_where_a_job_cannot_requeue_itself(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_scontrol(tmp_path / "bin", monkeypatch)
    toy = Toy(slurm, tmp_path / "store", TRAIN, study=SLOWLY, segments=3)
    toy.run()
    last = int(toy.entry("toy_train").standing.job or 0)
    toy.wait_until(lambda: toy.saved("toy_train") > 0)
    slurm.run("scancel", "--signal=USR2", "--batch", str(last - 2))
    toy.wait_for("toy_probe", "done")
    assert toy.record("toy_train")["attempts"] == 2
    slurm.wait_for(str(last - 2), "FAILED")
    for segment in (last - 1, last):
        slurm.wait_for(str(segment), "COMPLETED")
    assert "Slurm does not let the job requeue itself (scontrol is not on the PATH)" in toy.log("toy_train")


def test_a_segment_after_a_failure_ends_at_once(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", TRAIN, study={"limit": 2.0}, segments=3)
    toy.run()
    entry = toy.wait_for("toy_train", "failed")
    last = int(toy.job("toy_train"))
    for segment in (last - 2, last - 1, last):
        slurm.wait_for(str(segment), "FAILED")
    assert "toy_train.limit=2.0: reached" in entry.reason
    assert (toy.folder("toy_train") / "attempts").read_text() == "1"
    assert toy.log("toy_train").count("an earlier segment failed, and would fail again") == 2


# Preemption


def preempt(slurm: Cluster, seconds: int = 1) -> str:
    """A job with priority that needs the machine n1 for itself."""
    return slurm.submit("--partition=high", "--nodelist=n1", "--exclusive", wrap=f"sleep {seconds}")


ON_N1 = {"sbatch": {"nodelist": "n1"}}


def test_a_preempted_training_saves_and_continues_by_itself(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", TRAIN, study=SLOWLY, partition="low", **ON_N1)
    toy.run()
    job = toy.job("toy_train")
    toy.wait_until(lambda: toy.saved("toy_train") > 1)
    preempt(slurm)
    toy.wait_until(lambda: restarts(slurm, job) == 1)
    toy.wait_for("toy_probe", "done")
    assert toy.record("toy_train")["attempts"] == 2
    assert toy.record("toy_train")["jobs"] == {"SLURM_JOB_ID": job}


def test_a_cancelled_training_continues_when_the_command_is_run_again(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", TRAIN, study=SLOWLY, partition="scavenge", **ON_N1)
    toy.run()
    job = toy.job("toy_train")
    toy.wait_until(lambda: toy.saved("toy_train") > 1)
    preempt(slurm)
    slurm.wait_for(job, "PREEMPTED")
    toy.wait_until(lambda: not toy.entry("toy_train").in_flight)
    done = toy.saved("toy_train")
    assert done > 1
    assert toy.entry("toy_train").reason == f"job {job} ended as PREEMPTED; continues"
    assert toy.run() == 0
    toy.wait_for("toy_probe", "done")
    assert toy.record("toy_train")["attempts"] == 2


@pytest.mark.slow
def test_a_head_that_waits_continues_what_was_cancelled(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", TRAIN, study=SLOWLY, partition="scavenge", **ON_N1)
    toy.run()
    toy.wait_until(lambda: toy.saved("toy_train") > 1)
    preempt(slurm)
    assert toy.run("--wait") == 0
    assert toy.record("toy_train")["attempts"] == 2


def test_scancel_ends_a_stage_that_does_not_save_at_once(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", SHELL)
    toy.run()
    job = toy.job("toy_shell")
    toy.wait_until((toy.folder("toy_shell") / "work").is_dir)
    slurm.run("scancel", job)
    slurm.wait_for(job, "CANCELLED", seconds=3)  # KillWait would be five


def test_a_restart_that_finds_no_checkpoint_stops_loudly(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", TRAIN, study=SLOWLY, partition="low", **ON_N1)
    toy.run()
    job = toy.job("toy_train")
    toy.wait_until(lambda: toy.saved("toy_train") > 1)
    blocker = preempt(slurm, seconds=60)
    toy.wait_until(lambda: restarts(slurm, job) == 1)
    slurm.wait_for(job, "PENDING")
    done = toy.saved("toy_train")
    shutil.rmtree(toy.folder("toy_train") / "work")
    slurm.run("scancel", blocker)
    entry = toy.wait_for("toy_train", "failed")
    assert entry.reason.startswith(
        f"failed before: a checkpoint of step {done} was recorded, but none is there now; remove "
    )
    slurm.wait_for(job, "FAILED")


# Processes


def ranks(steps: int = 3, **given: Any) -> dict[str, list[Any]]:
    return {"A": [{"toy_ranks": {"steps": steps, **given}}]}


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_distributed_stage_runs_in_several_processes(slurm: Cluster, tmp_path: Path, nodes: int) -> None:
    toy = Toy(slurm, tmp_path / "store", ranks(), processes=2, nodes=nodes)
    assert toy.run("--wait") == 0
    (start,) = toy.record("toy_ranks")["summary"]["starts"]
    seen = start["ranks"]
    world = 2 * nodes
    assert [each["RANK"] for each in seen] == [str(rank) for rank in range(world)]
    assert {each["WORLD_SIZE"] for each in seen} == {str(world)}
    assert [each["LOCAL_RANK"] for each in seen] == ["0", "1"] * nodes
    assert {each["LOCAL_WORLD_SIZE"] for each in seen} == {"2"}
    assert len({each["SLURMD_NODENAME"] for each in seen}) == nodes
    assert toy.record("toy_ranks")["attempts"] == 1


def test_a_rank_that_fails_ends_the_job_with_its_message(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", ranks(steps=100, seconds=0.1, fails=1), processes=2)
    toy.run()
    entry = toy.wait_for("toy_ranks", "failed")
    assert entry.reason == "failed before: toy_ranks.fails=1: so it does"
    slurm.wait_for(toy.job("toy_ranks"), "FAILED")


def test_machines_that_serve_are_the_last_of_their_job(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", ranks(), processes=2, nodes=3, rollout_nodes=1, rollouts="server")
    assert toy.run("--wait") == 0
    summary = toy.record("toy_ranks")["summary"]
    (start,) = summary["starts"]
    assert [each["RANK"] for each in start["ranks"]] == ["0", "1", "2", "3"]
    assert {each["WORLD_SIZE"] for each in start["ranks"]} == {"4"}
    (served,) = summary["servers"]
    node, _, rest = served.partition(" for ")
    assert rest.startswith("4 of ")
    assert node not in {each["SLURMD_NODENAME"] for each in start["ranks"]}


@pytest.mark.parametrize("fault", ["lost", "killed"])
def test_a_node_of_which_a_rank_was_lost_or_killed_is_tried_again_in_the_same_job(
    slurm: Cluster, tmp_path: Path, fault: str
) -> None:
    toy = Toy(slurm, tmp_path / "store", ranks(steps=4, **{fault: 1}), processes=2)
    toy.run()
    job = toy.job("toy_ranks")
    toy.wait_for("toy_ranks", "done")
    assert restarts(slurm, job) == 1
    assert toy.record("toy_ranks")["attempts"] == 2


def test_a_node_that_is_lost_again_and_again_fails(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", ranks(steps=4, lost=99), processes=2)
    toy.run()
    entry = toy.wait_for("toy_ranks", "failed", seconds=120)
    assert entry.reason == "failed before: rank 1 is lost (3 times without progress)"
    # The first time, rank 0 may not have saved the first step yet.
    assert restarts(slurm, toy.job("toy_ranks")) in (2, 3)


@pytest.mark.slow
def test_all_ranks_save_and_come_back(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", ranks(steps=10, seconds=0.25), processes=2, nodes=2)
    toy.run()
    toy.wait_until(lambda: toy.saved("toy_ranks") > 1)
    slurm.run("scancel", "--signal=USR2", toy.job("toy_ranks"))  # to the steps, as `--signal=USR2@120` does
    toy.wait_for("toy_ranks", "done")
    starts = toy.record("toy_ranks")["summary"]["starts"]
    assert starts[0]["from"] == 0 and 0 < starts[1]["from"] < 10
    assert toy.record("toy_ranks")["attempts"] == 2


def test_ranks_with_a_grace_time_save_and_come_back_before_it_is_over(slurm: Cluster, tmp_path: Path) -> None:
    slurm.run("scontrol", "update", "PartitionName=low", "GraceTime=120")
    toy = Toy(slurm, tmp_path / "store", ranks(steps=10, seconds=0.25), processes=2, partition="low", **ON_N1)
    toy.run()
    job = toy.job("toy_ranks")
    toy.wait_until(lambda: toy.saved("toy_ranks") > 1)
    preempt(slurm)
    toy.wait_until(lambda: restarts(slurm, job) == 1, seconds=15)
    slurm.run("scontrol", "update", "PartitionName=low", "GraceTime=0")
    toy.wait_for("toy_ranks", "done")
    starts = toy.record("toy_ranks")["summary"]["starts"]
    assert len(starts) == 2 and starts[1]["from"] > 1


def test_a_job_sees_the_gpus_that_it_asked_for(slurm: Cluster, tmp_path: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", ranks(), gpus=2)
    assert toy.run("--wait") == 0
    (start,) = toy.record("toy_ranks")["summary"]["starts"]
    first, second = (each["CUDA_VISIBLE_DEVICES"].split(",") for each in start["ranks"])
    assert first == second and len({*first} & {*map(str, range(8))}) == 2
    assert [each["LOCAL_RANK"] for each in start["ranks"]] == ["0", "1"]


# Others at the same store


def test_a_local_head_waits_for_queued_jobs_and_says_so(slurm: Cluster, tmp_path: Path) -> None:
    """It holds nothing that they wait for."""
    slurm.run("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    try:
        toy = Toy(slurm, tmp_path / "store", TRAIN)
        toy.run()
        job = toy.job("toy_base")
        said: list[str] = []

        def watch(run: Run) -> None:
            said[:] = [f"{node.stage}: {whom}" for node, whom in run.outcome.waits]

        here = Where(launcher="local", cpus=1, gpus=0, default=Allocation(), stages={})
        running = Run(toy.study.graph, Store(toy.store), here, watch)
        head = threading.Thread(target=running.carry_out)
        head.start()
        toy.wait_until(lambda: bool(said))
        assert said[0].startswith(f"toy_base: job {job} waits (")
    finally:
        slurm.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    head.join(120)
    assert not head.is_alive() and not running.outcome.failed
    assert {entry.state for entry in toy.plan()} == {"done"}
    assert [toy.record(stage)["attempts"] for stage in ("toy_base", "toy_train", "toy_probe")] == [1, 1, 1]
