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
from stages.grading.pool import DEADLINE, Grade, Graders, check_errors


@pytest.fixture(scope="module")
def graders() -> Iterator[Graders]:
    with Graders(1) as pool:
        yield pool


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
