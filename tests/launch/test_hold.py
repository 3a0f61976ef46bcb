"""Holding a node: whoever waits for it holds nothing, and says for whom it waits."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launch import claim as claims
from launch import lock as locks
from launch import worker
from launch.claim import Claim
from launch.job import Allocation
from launch.job import Cluster as Where
from orchestrator import cancel
from orchestrator import carry_out as verbs
from orchestrator.batch import prepare
from orchestrator.command import FAILED, Command, Study
from orchestrator.run import Run
from stages import contract
from stages.store import Store
from tests.conftest import ROOT, TOYS, carry_out, study

pytestmark = pytest.mark.usefixtures("toys")

TOKEN = "a" * 12
BASE = {"Base": [{"toy_train": {"epochs": 1}}]}
HERE = Where(launcher="local", cpus=2, gpus=0, default=Allocation(), stages={})
#: A worker as Slurm would start it, and one of this machine that looks again often; the clock and the host of another.
WORKER = """
import sys, time, socket, fcntl
from pathlib import Path
from launch import hold, worker
folder, token, skew, host, locks = Path(sys.argv[1]), sys.argv[2] or None, float(sys.argv[3]), sys.argv[4], sys.argv[5]
hold.RECHECK = 0.05
real = time.time
time.time = lambda: real() + skew
if host:
    socket.gethostname = lambda: host
if not locks:
    fcntl.flock = lambda *_: None
sys.exit(worker.run(folder, {}, worker.Post(token=token)))
"""


def start(
    folder: Path, token: str = "", *, skew: float = 0.0, host: str = "", locks: bool = True
) -> subprocess.Popen[str]:
    """A worker in a process of its own."""
    command = [sys.executable, "-u", "-c", WORKER, str(folder), token, str(skew), host, "locks" if locks else ""]
    environment = {**os.environ, "PYTHONPATH": f"{TOYS}{os.pathsep}{ROOT}"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


#: Shows the rows of a file, each behind what the format asked for begins with.
SQUEUE = """#!/bin/sh
for word; do case $word in --format=*) mark=${{word#--format=}}; mark=${{mark%%|*}} ;; esac; done
sed "s/^/$mark|/" "{queue}"
"""


@pytest.fixture
def queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A squeue that shows one job in the state that it is given."""
    place = tmp_path / "bin"
    place.mkdir()
    (place / "squeue").write_text(SQUEUE.format(queue=place / "queue"))
    (place / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")

    def show(state: str) -> None:
        (place / "draft").write_text(f"12|{state}|Priority|{Claim(token='', launcher='slurm').user}|||x~{TOKEN}\n")
        os.replace(place / "draft", place / "queue")

    return show


def until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def claimed(store: Path, **claim: object) -> tuple[Study, Path]:
    """A toy study whose base somebody else has."""
    store.mkdir()
    made = Study(*study(store, BASE))
    base = next(iter(made.graph.nodes.values()))
    folder = prepare(base, made.graph, made.store, Allocation())
    claims.take(folder, Claim(**{"token": TOKEN, "launcher": "slurm", "job": "12", **claim}), None)  # type: ignore[arg-type]
    return made, folder


def test_a_local_head_and_a_queued_job_do_not_wait_for_each_other(
    tmp_path: Path, queued: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    queued("PENDING")
    made, folder = claimed(tmp_path / "store")
    said: list[str] = []

    def watch(run: Run) -> None:
        said[:] = [whom for _, whom in run.outcome.waits]

    running = Run(made.graph, Store(tmp_path / "store"), HERE, watch)
    head = threading.Thread(target=running.carry_out)
    head.start()
    until(lambda: said == ["job 12 waits (Priority)"])
    lock = locks.take(folder, Claim(token="", launcher="local"))
    assert lock is not None, "the head holds the lock of the node"
    lock.release()
    job = start(folder, TOKEN)
    words, _ = job.communicate(timeout=60)
    assert job.returncode == 0 and words == ""
    queued("COMPLETED")
    head.join(60)
    assert not head.is_alive()
    assert [node.stage for node in running.outcome.executed] == ["toy_base", "toy_train"]


def test_a_worker_that_waits_for_a_queued_job_holds_nothing_and_says_for_whom(
    tmp_path: Path, queued: Callable[[str], None]
) -> None:
    queued("PENDING")
    made, folder = claimed(tmp_path / "store")
    waits = start(folder)
    assert waits.stdout is not None
    assert waits.stdout.readline() == f"{folder}: job 12 waits (Priority); waiting for it\n"
    job = start(folder, TOKEN)
    assert (job.communicate(timeout=60)[0], job.returncode) == ("", 0)
    assert waits.wait(60) == 0
    assert carry_out(made.graph, Store(tmp_path / "store")).executed[0].stage == "toy_train"


def test_a_job_that_waits_for_a_lock_says_for_whose_and_goes_on_after_it(tmp_path: Path) -> None:
    _, folder = claimed(tmp_path / "store")
    other = Claim(token="b" * 12, launcher="local", pid=7, user="bob", host="n7")
    lock = locks.take(folder, other)
    assert lock is not None
    job = start(folder, TOKEN)
    assert job.stdout is not None
    assert job.stdout.readline() == f"{folder}: process 7 of bob on n7 has its lock; waiting for it\n"
    lock.release()
    assert job.wait(60) == 0


def test_a_job_that_waits_for_a_lock_and_loses_its_claim_ends(tmp_path: Path) -> None:
    _, folder = claimed(tmp_path / "store")
    lock = locks.take(folder, Claim(token="b" * 12, launcher="local"))
    assert lock is not None
    job = start(folder, TOKEN)
    assert job.stdout is not None and "has its lock" in job.stdout.readline()
    claims.take(folder, Claim(token="c" * 12, launcher="local"), claims.read(folder))
    assert "does not have the node any more" in job.communicate(timeout=60)[0]
    assert job.returncode == 1
    lock.release()


@pytest.mark.parametrize("skew", [-20.0, 20.0])
def test_two_hosts_without_a_common_lock_whose_clocks_differ(tmp_path: Path, skew: float) -> None:
    """Nothing tells them apart but the claim, whose age is the file server's."""
    store = tmp_path / "store"
    store.mkdir()
    _, graph, made = study(store, {"Slow": [{"toy_shell": {"command": "sleep 1.5; echo run >> ../../runs; echo 1"}}]})
    (node,) = (node for node in graph.nodes.values() if node.stage == "toy_shell")
    folder = prepare(node, graph, made, Allocation())
    first = start(folder, host="one", locks=False)
    until(lambda: claims.read(folder) is not None)
    second = start(folder, host="two", skew=skew, locks=False)
    assert (first.wait(60), second.wait(60)) == (0, 0)
    assert (store / "toy_shell" / "runs").read_text() == "run\n"
    record = Store(store).record(node.stage, node.fingerprint)
    assert record is not None and record["attempts"] == 1
    assert second.stdout is not None and "a worker of" in second.stdout.read()


def test_what_a_worker_made_that_was_taken_over_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was frozen for so long that another host took its node for free."""
    made, folder = claimed(tmp_path / "store", launcher="local", released=True)
    real = contract.load("toy_base").run

    def run(config: object, context: object) -> object:
        claims.take(folder, Claim(token="b" * 12, launcher="local", host="two", boot="two"), claims.read(folder))
        return real(config, context)

    monkeypatch.setattr(contract.load("toy_base"), "run", run)
    assert worker.run(folder, {}) == 1
    assert not list((tmp_path / "store" / "toy_base").glob("[!.]*"))
    holder = claims.read(folder)
    assert holder is not None and holder.host == "two" and not holder.released


def test_a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    found = Study(*study(tmp_path / "store"))
    assert verbs.verb(found, Command("run", None, frozenset(), [])) == 0
    said = capsys.readouterr().err
    assert said.count("No locks available") == 1 and "Traceback" not in said
    assert found.store.running("toy_base", "0" * 64) is False


def test_a_store_that_was_moved_away_from_its_cluster_does_not_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says who has what and how to free it; by its name that is freed, and then the same command goes on."""
    monkeypatch.setenv("PATH", str(tmp_path))
    made, folder = claimed(tmp_path / "store", user="alice", host="login1", boot="there")
    run = Command("run", None, frozenset(), [])
    os.utime(folder / "claim-1.json", (0, time.time() - 7200))
    assert verbs.verb(made, run) == FAILED
    said = capsys.readouterr().err
    words = (
        "error: toy_base/base: not run: job 12 of alice has it, but Slurm does not answer: squeue is not on the PATH"
    )
    assert f"{words}; nobody has touched it for 2 h 0 min; it was taken on login1; if it is not to run" in said
    assert "not run, because what they need is not there: toy_train/Base" in said
    assert cancel.verb(made, Command("cancel", None, frozenset({"--all"}), [])) == FAILED
    assert "left toy_base/base: it is alice's: job 12 of alice has it" in capsys.readouterr().out
    assert cancel.verb(made, Command("cancel", "toy_base", frozenset(), [])) == 0
    assert "freed toy_base/base: job 12 of alice on login1; if that still waits" in capsys.readouterr().out
    made.store.refresh()
    assert verbs.verb(made, run) == 0
    assert start(folder, TOKEN).wait(60) == 0  # of a job that starts after all: it finds the node published


@pytest.mark.parametrize(("mine", "age"), [(True, 7200.0), (True, 1.0), (False, 7200.0)])
def test_all_frees_what_is_ones_own_and_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mine: bool, age: float
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    made, folder = claimed(tmp_path / "store", **({} if mine else {"user": "alice"}))
    os.utime(folder / "claim-1.json", (0, time.time() - age))
    code = cancel.verb(made, Command("cancel", None, frozenset({"--all"}), []))
    found = claims.read(folder)
    assert found is not None and found.released == (mine and age > 60)
    assert code == (0 if found.released else FAILED)
    said = capsys.readouterr()
    if not found.released:
        assert "left toy_base/base" in said.out or "nothing is known of the jobs: squeue is not on the PATH" in said.err
