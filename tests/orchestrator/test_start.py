"""The process of a command line: an output that takes nothing more, and Ctrl-C before anything has begun."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.__main__ import main

PLAN = [sys.executable, "-m", "orchestrator", "plan", "+experiment=smoke"]


def shell(line: str, store: Path) -> tuple[int, str]:
    """The exit code of a plan on a shell's line, where it stands for $PLAN, and its standard error."""
    plan = " ".join([*PLAN, f"store={store}"])
    done = subprocess.run(["bash", "-c", line.replace("$PLAN", plan)], capture_output=True, text=True)
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("$PLAN > /dev/full", "standard output cannot be written: No space left on device"),
        ("$PLAN --json > /dev/full", "standard output cannot be written: No space left on device"),
        ("$PLAN | true; exit ${PIPESTATUS[0]}", "standard output cannot be written: Broken pipe"),
        ("$PLAN >&-", "standard output is closed; send it to a file, or to /dev/null"),
        ("$PLAN --help > /dev/full", "standard output cannot be written: No space left on device"),
    ],
)
def test_an_output_that_takes_nothing_is_one_line(line: str, said: str, tmp_path: Path) -> None:
    assert shell(line, tmp_path) == (2, f"error: {said}")


def test_errors_that_nobody_hears_keep_their_exit_code(tmp_path: Path) -> None:
    assert shell("$PLAN seed=x 2> /dev/full", tmp_path)[0] == 2


@pytest.mark.parametrize("after", [0.1, 0.25, 0.4])
def test_ctrl_c_while_it_starts_shows_no_traceback(after: float, tmp_path: Path) -> None:
    process = subprocess.Popen([*PLAN, f"store={tmp_path}"], stdout=-1, stderr=-1, text=True)
    time.sleep(after)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, said) == (130, "interrupted; the same command continues\n")


@pytest.mark.parametrize("verb", ["plan", "run", "why sft", "status", "doctor", "gc", "compare A B", "plna", "grade"])
def test_errors_for_scripts_are_an_object(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--json", "+experiment=tiny_math", "cluster=nowhere", f"store={tmp_path}"]) == 2
    out, err = capsys.readouterr()
    errors = json.loads(out)["errors"]
    assert [f"error: {each}" for each in errors] == err.splitlines() and errors
