"""Out of memory is said as that, whoever noticed it, and is not tried again unchanged."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from launch import exhaustion, failure, order, ranks
from launch.queue import Queue
from launch.standing import Standing
from orchestrator import deaths, follow, plan
from orchestrator.run import Run
from stages import contract
from stages.contract import Lost, StageError
from stages.store import Store
from tests.conftest import carry_out, cluster, study

pytestmark = pytest.mark.usefixtures("toys")

BASE = {"Base": [{"toy_train": {"epochs": 1}}]}


class OutOfMemoryError(RuntimeError):
    """torch's, by name."""


@pytest.mark.parametrize(
    "words",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79 GiB",
        "RuntimeError: CUDA error: out of memory",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch. Some of the step tasks have been OOM Killed.",
        "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=12.batch cgroup. Some of your processes may have",
        "slurmstepd: error: *** JOB 12 ON n1 CANCELLED AT 2024-01-01T00:00:00 DUE TO job memory limit ***",
        "slurmstepd: error: StepId=12.0 exceeded memory limit (2048 > 1024), being killed",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory: you tried to",
        "terminate called after throwing an instance of 'std::bad_alloc'",
        "OSError: [Errno 12] Cannot allocate memory",
        "MemoryError",
    ],
)
def test_who_says_it(words: str) -> None:
    text = f"step 12\n{words}\nthe engine is gone\n"
    assert exhaustion.line(text) == exhaustion.last(text) == words


@pytest.mark.parametrize("words", ["", "step 12", "a room for memory", "boom: killed", "the memory of GPUs: 80 GB"])
def test_what_is_something_else(words: str) -> None:
    assert exhaustion.line(words) is None
    assert exhaustion.last(f"first\n{words}\n\n") == (words or "first")


def made_to(monkeypatch: pytest.MonkeyPatch, error: Exception, kills: int = 0) -> list[int]:
    """Make toy_base fail, after the kernel has killed so many of its processes; returns its attempts."""
    count, attempts = [7], [0]
    monkeypatch.setattr(exhaustion, "kills", lambda: count[0])

    def run(config: object, context: object) -> dict[str, object]:
        attempts[0] += 1
        count[0] += kills
        raise error

    monkeypatch.setattr(contract.load("toy_base"), "run", run)
    return attempts


@pytest.mark.parametrize(
    ("error", "kills", "message", "attempts"),
    [
        (OutOfMemoryError("CUDA out of memory"), 0, "out of memory: CUDA out of memory; see what this stage needs", 1),
        (MemoryError(), 0, "out of memory: MemoryError", 1),
        (Lost("the engine is gone"), 1, "out of memory: the kernel killed a process of it (oom-kill) (the engine", 1),
        (
            StageError("exit code 137"),
            1,
            "out of memory: the kernel killed a process of it (oom-kill) (exit code 13",
            1,
        ),
        (Lost("the engine is gone"), 0, "the engine is gone (3 times without progress)", 3),
        (StageError("exit code 137"), 0, "exit code 137", 1),
        (KeyError("bug"), 1, "KeyError: 'bug'", 1),
    ],
)
def test_a_stage_that_ran_out_of_it_is_tried_once(
    error: Exception, kills: int, message: str, attempts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, graph, store = study(tmp_path / "store", BASE)
    tried = made_to(monkeypatch, error, kills)
    ((_, (said,), _),) = carry_out(graph, store).failed.values()
    assert said.startswith(message)
    assert tried == [attempts]


def test_the_words_of_an_engine_in_the_log_are_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended in a process of its own; those of an earlier attempt are no reason."""
    log = tmp_path / "log.txt"
    log.write_text("torch.OutOfMemoryError: of yesterday\n")
    before = exhaustion.mark(log)
    assert before.evidence() is None
    with log.open("a") as stream:
        stream.write("torch.OutOfMemoryError: CUDA out of memory\n(EngineCore) died\n")
    assert before.evidence() == "torch.OutOfMemoryError: CUDA out of memory"


@pytest.mark.parametrize(
    ("words", "kills", "message"),
    [
        ("", 0, "its worker was killed by signal 9; the same command continues it"),
        ("", 1, "out of memory: the kernel killed a process of it (oom-kill); its worker was killed by signal 9"),
        (
            "echo Detected 1 oom_kill event in StepId=1.batch >&2;",
            0,
            "out of memory: Detected 1 oom_kill event in StepId=1.batch; its worker was killed by signal 9",
        ),
    ],
)
def test_a_worker_that_is_killed(
    words: str, kills: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = tmp_path / "begun"  # the kernel kills after that
    monkeypatch.setattr(exhaustion, "kills", lambda: kills if begun.exists() else 0)
    store = tmp_path / "store"
    store.mkdir()
    command = f"touch {begun}; {words} kill -9 $PPID; sleep 5"
    _, graph, made = study(store, {"A": [{"toy_shell": {"command": command}}]})
    outcome = Run(graph, made, cluster("local", cpus=1), lambda run: None).carry_out()
    ((node, messages, _),) = outcome.failed.values()
    assert (node.stage, messages) == ("toy_shell", [message])


def test_a_worker_that_is_killed_is_not_waited_for_on_a_machine_that_was_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its claim names the machine as it was called; nobody else has the node, so it is not started again either."""
    begun = tmp_path / "begun"
    name = socket.gethostname()
    monkeypatch.setattr(socket, "gethostname", lambda: "renamed" if begun.exists() else name)
    command = f"echo >> {begun}; kill -9 $PPID; sleep 5"
    _, graph, made = study(tmp_path, {"A": [{"toy_shell": {"command": command}}]})
    outcome = Run(graph, made, cluster("local", cpus=1), lambda run: None).carry_out()
    ((_, (message,), _),) = outcome.failed.values()
    assert "was killed by signal 9" in message and outcome.waits == []
    assert begun.read_text() == "\n"


def test_a_rank_that_the_kernel_killed_is_no_loss(tmp_path: Path) -> None:
    """The ranks that lost it have said so already."""
    assert failure.leave_lost(tmp_path, "rank 0 lost another process")
    ranks._leave([str(tmp_path)], "rank 1 was killed by signal 9", "the kernel killed a process of it (oom-kill)")
    assert failure.for_good(tmp_path) and not failure.again(tmp_path)
    (message,) = failure.messages(tmp_path)
    assert message == "out of memory: the kernel killed a process of it (oom-kill); rank 1 was killed by signal 9"


@pytest.mark.parametrize(
    ("ended", "slurm", "said"),
    [
        ("OUT_OF_MEMORY", "", "out of memory: job 12 ended as OUT_OF_MEMORY"),
        ("FAILED", "error: Detected 1 oom_kill event in StepId=12.batch", "out of memory: error: Detected 1 oom_kill "),
        (None, "error: Detected 1 oom_kill event in StepId=12.batch", "out of memory: error: Detected 1 oom_kill even"),
        ("CANCELLED", "error: Detected 1 oom_kill event in StepId=12.batch", None),
        ("FAILED", "Segmentation fault", None),
    ],
)
def test_a_job_that_slurm_saw_end(
    ended: str | None, slurm: str, said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`FAILED (JobLaunchFailure)` is how an older Slurm calls it."""
    _, graph, store = study(tmp_path / "store", BASE)
    node = next(iter(graph.nodes.values()))
    folder = store.job(node.stage, node.fingerprint)
    folder.mkdir(parents=True)
    (folder / "attempts").write_text("1")
    (folder / "claim-1.json").write_text(json.dumps({"token": "a" * 12, "launcher": "slurm", "job": "12", "number": 1}))
    job = order.make(store.root, "a" * 12)
    (job / "12_0_log.out").write_text(f"{slurm}\n")
    stands = Standing(state="free", reason=f"job 12 ended as {ended}", ended=ended)
    monkeypatch.setattr("launch.standing.of", lambda *_, **__: stands)
    monkeypatch.setattr("launch.standing.look", lambda held: Queue([]))
    entry, *_ = plan.make(graph, Store(store.root))
    found = deaths.starved(entry.claim, stands, store)
    assert (found is None) if said is None else (found is not None and found.startswith(said))
    assert entry.starved == (said is not None)
    assert entry.open and (said is None or entry.reason == found)
    lost = follow._lost([entry], graph, store, follow.Counter())
    assert lost == ([] if said else [node])
    if ended == "FAILED" and said is None:
        assert entry.reason.endswith(f"; continues; its last words: Segmentation fault ({job}/12_0_log.out)")
