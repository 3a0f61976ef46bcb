"""The process of a command line: an output that takes nothing more, and Ctrl-C before anything has begun."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.__main__ import main
from tests.conftest import ROOT

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
        ("$PLAN >&-", "standard output is closed; send it to a file, or to /dev/null"),
        ("$PLAN --help > /dev/full", "standard output cannot be written: No space left on device"),
    ],
)
def test_an_output_that_takes_nothing_is_one_line(line: str, said: str, tmp_path: Path) -> None:
    assert shell(line, tmp_path) == (2, f"error: {said}")


@pytest.mark.parametrize("flags", ["", "--json", "--cost", "--help"])
def test_a_reader_that_has_had_enough_is_no_error(flags: str, tmp_path: Path) -> None:
    assert shell(f"$PLAN {flags} | true; exit ${{PIPESTATUS[0]}}", tmp_path) == (128 + signal.SIGPIPE, "")


def test_errors_that_nobody_hears_keep_their_exit_code(tmp_path: Path) -> None:
    assert shell("$PLAN seed=x 2> /dev/full", tmp_path)[0] == 2


#: Python imports this module when it starts: it presses Ctrl-C when a module is imported for the first time.
INTERRUPTING = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPT_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
"""


@pytest.mark.parametrize("module", ["launch", "rich", "pydantic", "hydra", "orchestrator.why"])
def test_ctrl_c_while_it_starts_shows_no_traceback(module: str, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "INTERRUPT_AT": module}
    done = subprocess.run([*PLAN, f"store={tmp_path}"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (130, "interrupted; the same command continues\n")


@pytest.mark.parametrize("verb", ["plan", "run", "why sft", "status", "doctor", "gc", "compare A B", "plna", "grade"])
def test_errors_for_scripts_are_an_object(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb.split(), "--json", "+experiment=tiny_math", "cluster=nowhere", f"store={tmp_path}"]) == 2
    out, err = capsys.readouterr()
    errors = json.loads(out)["errors"]
    assert [f"error: {each}" for each in errors] == err.splitlines() and errors
