"""Submitting to a real Slurm: what goes out, what does not, and what is taken back."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch import claim as claims
from launch import failure, queue
from launch.claim import LEASE, Claim
from orchestrator import follow, orphans, plan
from orchestrator.command import Study
from orchestrator.plan import Entry
from orchestrator.refusal import ConfigError
from orchestrator.submit import Submitted, Submitter
from tests.conftest import carry_out
from tests.slurm import head
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import become_client, running

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.usefixtures("toys", "slurm")]

#: Three levels: a base, a training, a probe of it.
CHAIN: dict[str, list[Any]] = {"V": [{"toy_train": {"epochs": 2}}, {"toy_probe": {"digit": 0}}]}
ALL = ["toy_base", "toy_train", "toy_probe"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with running(accounting=False) as cluster:
        yield cluster


@pytest.fixture
def slurm(shared: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    become_client(shared, monkeypatch)
    yield shared
    shared.settle()


@pytest.fixture
def chain(tmp_path: Path) -> Study:
    (tmp_path / "store").mkdir()
    return head.study(tmp_path / "store", CHAIN, cluster={}, seconds=0.05)


def entries(study: Study) -> list[Entry]:
    study.store.refresh()
    return plan.make(study.graph, study.store)


def send(study: Study, planned: list[Entry] | None = None, tell: Callable[[str], None] = print) -> Submitted:
    submitter = Submitter(study.graph, study.store, study.experiment.cluster, tell)
    return submitter.submit(entries(study) if planned is None else planned)


def finish(study: Study) -> list[str]:
    """The states of all nodes once nothing is in flight."""
    return [entry.state for entry in follow.follow(study.graph, study.store, study.experiment.cluster, print)]


def folder(study: Study, number: int) -> Path:
    node = list(study.graph.nodes.values())[number]
    return study.store.job(node.stage, node.fingerprint)


def stages_of(submitted: Submitted) -> list[str]:
    return [node.stage for nodes in submitted.jobs.values() for node in nodes]


def dotted(study: Study) -> list[Path]:
    return [path for stage in ALL for path in (study.store.root / stage).glob(".*")]


def test_everything_goes_out_at_once_and_hangs_together(chain: Study) -> None:
    submitted = send(chain)
    assert stages_of(submitted) == ALL
    assert submitted.calls == 3
    assert finish(chain) == ["done"] * 3
    assert dotted(chain) == []


def test_the_same_command_attaches_to_what_is_in_flight(chain: Study) -> None:
    first = send(chain)
    second = send(chain)
    assert (second.nodes, second.calls) == (0, 0)
    assert [entry.standing.job for entry in second.attached] == list(first.jobs)
    assert finish(chain) == ["done"] * 3


def test_nothing_is_submitted_that_is_done(chain: Study) -> None:
    carry_out(chain.graph, chain.store)
    assert send(chain).calls == 0


def test_one_command_submits_what_was_lost_with_all_that_waits_for_it(chain: Study, slurm: Cluster) -> None:
    """Slurm has not cancelled the dependents yet when it runs: they wait in vain, and are no more in flight."""
    slurm.run("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    try:
        first = send(chain)
        job, *_ = first.jobs
        slurm.run("scancel", job)
        again = send(chain)
    finally:
        slurm.run("scontrol", "update", "PartitionName=cpu", "State=UP")
    assert stages_of(again) == ALL
    assert finish(chain) == ["done"] * 3
    slurm.wait_until(lambda: not any(not entry.ended for entry in queue.read([slurm.user]).entries))


def test_a_stale_plan_submits_nothing_that_was_published_since(chain: Study) -> None:
    stale = entries(chain)
    carry_out(chain.graph, chain.store)
    assert send(chain, stale).calls == 0
    assert dotted(chain) == []


def test_a_claim_that_was_dead_for_the_plan_and_lives_is_not_taken_over(chain: Study) -> None:
    """Its sbatch was on the way to Slurm all the time, though its head was killed."""
    base = folder(chain, 0)
    base.mkdir(parents=True)
    lived = claims.take(base, Claim(token=claims.new_token(), launcher="slurm"), over=None)
    assert lived is not None
    os.utime(base / "claim-1.json", (0, time.time() - LEASE - 1))
    stale = entries(chain)
    assert stale[0].open
    told: list[str] = []
    heard = threading.Event()

    def tell(text: str) -> None:
        told.append(text)
        heard.set()

    os.utime(base / "claim-1.json")
    sender = threading.Thread(target=send, args=(chain, stale, tell))
    sender.start()
    assert heard.wait(LEASE - 2)
    assert claims.read(base) == lived
    claims.release(base, lived)
    sender.join()
    assert "is submitting it; waiting for it" in told[0]
    assert finish(chain) == ["done"] * 3


def test_a_job_that_slurm_refuses_takes_the_whole_submission_back(chain: Study, slurm: Cluster, tmp_path: Path) -> None:
    plain = {"cpus": 1, "gpus": 0, "per_device_batch": 1, "graders": 1, "time": 5, "memory": 0.2}
    wrong = {"stages": {"toy_probe": {**plain, "partition": "nosuch"}}}
    refused = head.study(tmp_path / "store", CHAIN, cluster=wrong, seconds=0.05)
    with pytest.raises(ConfigError, match="toy_probe: Slurm refuses the job: .*invalid partition"):
        send(refused)
    slurm.wait_until(lambda: not any(not entry.ended for entry in queue.read([slurm.user]).entries))
    assert stages_of(send(chain)) in (ALL, ALL[1:])  # the base may have been quick
    assert finish(chain) == ["done"] * 3


def test_a_stage_in_segments_is_run_once_and_what_waits_for_it_hangs_on_the_last(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    plain = {"cpus": 1, "gpus": 0, "per_device_batch": 1, "graders": 1, "time": 5, "memory": 0.2}
    longer = {"stages": {"toy_train": {**plain, "segments": 3}}}
    study = head.study(tmp_path / "store", CHAIN, cluster=longer, seconds=0.05)
    submitted = send(study)
    assert submitted.calls == 5
    base, train, probe = map(int, submitted.jobs)
    assert (train - base, probe - base) == (3, 4)
    assert finish(study) == ["done"] * 3
    (train_record,) = study.store.records("toy_train")
    assert train_record["attempts"] == 1


def test_a_node_whose_input_was_lost_is_tried_again_with_it(chain: Study) -> None:
    """Slurm forgets: what hangs on a job that is not there any more starts at once."""
    carry_out(chain.graph, chain.store)
    stale = entries(chain)
    for entry in stale:
        shutil.rmtree(entry.path)
    lone = [stale[0], replace(stale[1], state="run"), replace(stale[2], state="run")]
    send(chain, lone)
    error = folder(chain, 1) / failure.ERROR
    deadline = time.monotonic() + 30
    while not error.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "has no valid record" in json.loads(error.read_text())["message"]
    assert finish(chain) == ["done"] * 3


@contextmanager
def broken(chain: Study, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Cluster, Submitted]]:
    """The chain on broken machines, which their prolog finds out: Slurm holds its first job. Then they are mended."""
    with running(accounting=False) as cluster:
        become_client(cluster, monkeypatch)
        prolog, sound = cluster.folder / "prolog", cluster.folder / "sound"
        prolog.write_text(f"#!/bin/sh\ntest -e {sound}\n")
        prolog.chmod(0o755)
        with cluster.conf.open("a") as conf:
            conf.write(f"Prolog={prolog}\n")
        cluster.run("scontrol", "reconfigure")
        submitted = send(chain)
        cluster.wait_until(lambda: any(entry.held for entry in queue.read([cluster.user]).entries))
        sound.touch()
        cluster.resume_nodes()
        yield cluster, submitted


def test_a_job_that_slurm_could_not_start_and_holds_is_submitted_anew(
    chain: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job would wait for its administrator, its dependents for it."""
    with broken(chain, monkeypatch) as (cluster, first):
        cluster.wait_until(lambda: entries(chain)[0].state == "run")
        assert "waits in vain (launch failed requeued held)" in entries(chain)[0].reason
        assert stages_of(send(chain)) == ALL
        assert finish(chain) == ["done"] * 3
        left = [entry.id for entry in queue.read([cluster.user]).entries if not entry.ended]
        assert not set(left) & set(first.jobs)


def test_a_job_that_slurm_holds_though_its_node_is_done_is_cancelled_in_the_end(
    chain: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a controller does that was killed, and is back with an older memory: it starts what has run."""
    with broken(chain, monkeypatch) as (cluster, first):
        cluster.run("scancel", *list(first.jobs)[1:])
        carry_out(chain.graph, chain.store)
        assert finish(chain) == ["done"] * 3
        assert not [entry.id for entry in queue.read([cluster.user]).entries if entry.held]


def test_waiting_jobs_whose_nodes_are_somebody_elses_are_cancelled(chain: Study, slurm: Cluster) -> None:
    slurm.run("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    try:
        jobs = list(send(chain).jobs)
        taken = claims.read(folder(chain, 2))
        assert taken is not None
        claims.take(folder(chain, 2), Claim(token=claims.new_token(), launcher="slurm"), over=taken)
        told: list[str] = []
        for _ in range(2):
            orphans.cancel(chain.store, told.append)
        assert told == [f"cancelled jobs that nobody waits for any more: {jobs[2]}"]
    finally:
        slurm.run("scontrol", "update", "PartitionName=cpu", "State=UP")
