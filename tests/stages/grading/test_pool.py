"""Graders: no string hangs them, an error is no verdict, and none outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

from stages.contract import StageError
from stages.grading import pool
from stages.grading.pool import DEADLINE, Grade, Graders, check_errors


@pytest.fixture(scope="module")
def graders() -> Iterator[Graders]:
    with Graders(1) as one:
        yield one


def test_verdicts_come_in_the_order_of_the_answers(graders: Graders) -> None:
    answers = [("1", r"\boxed{1}"), ("1", "no box"), ("1", r"\boxed{2}"), ("2", r"\boxed{2}"), ("1", r"\boxed{1}")]
    assert graders.grade("math", answers) == [
        Grade("1", True),
        Grade(None, False),
        Grade("2", False),
        Grade("2", True),
        Grade("1", True),
    ]


def test_letters_are_graded_too(graders: Graders) -> None:
    assert graders.grade("letter", [("C", "the answer is (C)")]) == [Grade("C", True)]


def test_a_hang_is_an_error_with_its_reason_and_the_answers_beside_it_have_their_verdicts(graders: Graders) -> None:
    answers = [("1", r"\boxed{1}"), ("1", r"\boxed{9^{9^{9^9}}}"), ("3", r"\boxed{3}")]
    first, hung, last = graders.grade("math", answers)
    assert (first.correct, last.correct) == (True, True)
    assert hung == Grade("9^{9^{9^9}}", None, f"timeout after {DEADLINE:g} s of processor time")


@pytest.mark.parametrize(
    "answer",
    [
        r"\sqrt{" * 40 + "2" + "}" * 40,
        "5\x00\x00",
        "1+" * 500_000 + "1",
        "{" * 900 + "}" * 900,
        "\u0665 \u2212 \U0001d7d9",  # digits and a minus of other scripts
    ],
)
def test_a_hostile_answer_is_graded_wrong_or_is_an_error(graders: Graders, answer: str) -> None:
    [grade] = graders.grade("math", [("123456", rf"\boxed{{{answer}}}")])
    assert not grade.correct


def test_ordinary_answers_are_fast(graders: Graders) -> None:
    graders.grade("math", [("0", r"\boxed{0}")])
    started = time.perf_counter()
    grades = graders.grade("math", [(str(i), rf"\boxed{{{i}.0}}") for i in range(200)])
    assert all(grade.correct for grade in grades)
    assert time.perf_counter() - started < 5  # far from the usual 0.3 s, for a busy machine


def _workers() -> list[psutil.Process]:
    """The workers of this process's pool, without those that have just ended."""
    [server] = _servers()
    return [child for child in server.children() if child.status() != psutil.STATUS_ZOMBIE]


def _servers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "multiprocessing.forkserver" in " ".join(child.cmdline())]


ANSWERS = [("12", rf"\boxed{{{number}+x-x}}") for number in range(40)]
VERDICTS = [number == 12 for number in range(40)]


@pytest.mark.parametrize("victim", ["an idle worker", "a busy worker", "every worker", "the server"])
def test_who_kills_a_grader_or_its_server_costs_no_verdict(victim: str) -> None:
    with Graders(2) as graders:
        assert graders.grade("math", [("1", r"\boxed{1}")])[0].correct
        hang = graders.submit("math", "1", r"\boxed{9^{9^{9^9}}}") if victim == "a busy worker" else None
        time.sleep(0.2)
        workers = _workers()
        busy = max(workers, key=lambda worker: sum(worker.cpu_times()[:2]))
        for each in {"an idle worker": workers[:1], "a busy worker": [busy], "the server": _servers()}.get(
            victim, workers
        ):
            each.kill()
        assert [grade.correct for grade in graders.grade("math", ANSWERS)] == VERDICTS
        time.sleep(0.5)  # until the pool has seen it, if it had not
        assert [grade.correct for grade in graders.grade("math", [("3", r"\boxed{1+2}")])] == [True]
        assert hang is None or hang.result().error == f"timeout after {DEADLINE:g} s of processor time"


def test_an_answer_that_kills_its_worker_is_an_error_and_a_pool_that_cannot_start_stops_the_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Graders(1) as graders:
        task = pool.Task(graders, _die, [])  # type: ignore[arg-type]
        assert task.outcome() == (None, f"worker died {pool.ATTEMPTS} times (exit code -9)")
        assert graders.grade("math", [("1", r"\boxed{1}")])[0].correct

    def refuse(*_: object) -> None:
        raise OSError("no process can be started")

    monkeypatch.setattr("multiprocessing.popen_forkserver.Popen.__init__", refuse)
    with Graders(1) as graders, pytest.raises(StageError, match="in a row broke .*: no process can be started"):
        graders.grade("math", [("1", r"\boxed{1}")])


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_graders_outlive_a_sigterm_to_the_whole_group_while_their_parent_does() -> None:
    code = (
        "import signal, sys, time\n"
        "from stages.grading.pool import Graders\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "    with Graders(2) as graders:\n"
        "        graders.grade('math', [('1', r'\\boxed{1}')])\n"
        "        print('ready', flush=True)\n"
        "        sys.stdin.readline()\n"
        "        started = time.perf_counter()\n"
        "        grades = graders.grade('math', [('12', r'\\boxed{%d+x-x}' % number) for number in range(40)])\n"
        "        print([grade.correct for grade in grades].index(True), time.perf_counter() - started, flush=True)\n"
        "    print('left', flush=True)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
        start_new_session=True,
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
    time.sleep(0.5)  # until both workers have begun
    children = psutil.Process(parent.pid).children(recursive=True)
    os.killpg(parent.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(children, timeout=0.5)
    assert len(alive) == len(children)
    output, errors = parent.communicate(b"\n", timeout=60)
    place, seconds = output.splitlines()[0].split()
    assert place == b"12" and float(seconds) < 10 and output.splitlines()[1:] == [b"left"] and errors == b""
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


def test_graders_die_with_a_parent_that_is_killed() -> None:
    code = (
        "from stages.grading.pool import Graders\n"
        "if __name__ == '__main__':\n"
        "    graders = Graders(2)\n"
        "    graders.grade('math', [('1', r'\\boxed{1}')])\n"
        "    print('ready', flush=True)\n"
        "    import time; time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"ready\n"
    children = psutil.Process(parent.pid).children(recursive=True)
    assert len(children) >= 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


def test_more_than_one_error_in_a_hundred_stops_the_stage() -> None:
    errors = [Grade("x", None, "timeout")] * 2
    check_errors([*errors, *[Grade("1", True)] * 198])
    check_errors(errors, planned=200)
    with pytest.raises(StageError, match=r"2 of 199 answers \(1.0%\) could not be graded, the last: timeout"):
        check_errors([*errors, *[Grade("1", True)] * 197])
