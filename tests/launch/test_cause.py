"""What a machine does to us is one line with the file and the cause, without a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch import cause, claim, failure
from orchestrator import __main__ as command_line
from orchestrator import carry_out, run
from orchestrator.command import FAILED, Command, Study
from stages import contract
from tests.conftest import carry_out as run_all
from tests.conftest import study

pytestmark = pytest.mark.usefixtures("toys")

ROOT = Path("/store")


def told(number: int, file: str | None = "/store/x") -> str | None:
    return cause.of(OSError(number, os.strerror(number), file), ROOT)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left on the disk of /store (/store/x)"),
        (errno.EDQUOT, "the disk quota for /store is used up (/store/x)"),
        (errno.EROFS, "the file system of /store/x is read-only"),
        (errno.ESTALE, "the file server no longer knows /store/x: stale file handle"),
        (errno.EIO, "the disk or the file server of /store/x failed: input/output error"),
        (errno.ENOLCK, "the file system of /store/x has no file locks"),
        (errno.EOPNOTSUPP, "the file system of /store/x does not support this: operation not supported"),
        (errno.EACCES, "/store/x: permission denied"),
    ],
)
def test_the_cause_and_the_file(number: int, words: str) -> None:
    assert told(number) == words
    assert told(number, None) is not None


def test_the_limit_is_named() -> None:
    words = told(errno.EMFILE)
    assert (
        words is not None and words.startswith("too many open files: this process may have ") and "ulimit -n" in words
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "no space left on"),
        (RuntimeError("Error writing bytes to file. Detail: [errno 122] Disk quota exceeded"), "the disk quota for"),
        (ValueError("too large"), None),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"), None),
        (RuntimeError("unexpected pos 64 vs 0"), None),
    ],
)
def test_libraries_give_it_on_in_words(error: Exception, words: str | None) -> None:
    found = cause.of(error, Path("/"))
    assert found is None if words is None else found is not None and found.startswith(words)


def test_behind_another_error() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/store/x")
        except OSError as error:
            raise RuntimeError("checkpoint not written") from error
    except RuntimeError as error:
        assert cause.of(error, ROOT) == "no space left on the disk of /store (/store/x)"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.EMFILE, errno.EIO])
def test_in_a_stage(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    _, graph, store = study(tmp_path / "store", {"A": [{"toy_train": {"epochs": 1}}]})

    def run(config: object, context: object) -> dict[str, object]:
        raise OSError(number, os.strerror(number), "/there/file")

    monkeypatch.setattr(contract.load("toy_base"), "run", run)
    ((node, (message,), _),) = run_all(graph, store).failed.values()
    assert message == cause.of(OSError(number, "", "/there/file"), store.root) and "/there/file" in message
    said = capfd.readouterr()
    assert "Traceback" not in said.err and said.err.count(message) == 1
    assert failure.for_good(store.job(node.stage, node.fingerprint))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.ESTALE, errno.EMFILE])
@pytest.mark.parametrize("where", [(run, "prepare"), (claim, "take"), (run, "log")])
def test_in_the_head(
    number: int, where: tuple[object, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = Study(*study(tmp_path / "store"))

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/there/file")

    monkeypatch.setattr(*where, fail)
    monkeypatch.setattr(command_line, "_parse", lambda arguments: Command("run", None, frozenset(), []))
    monkeypatch.setattr(command_line, "_study", lambda members: found)
    monkeypatch.setattr(command_line.config, "compose", lambda overrides: None)
    monkeypatch.setattr(command_line.sweep, "read", lambda composed: [])
    assert command_line.main(["run"]) == FAILED
    said = capfd.readouterr().err
    assert "Traceback" not in said and "/there/file" in said and said.count("error: ") == 1


def test_a_python_that_is_not_there_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Study(*study(tmp_path / "store", cluster={"launcher": "local", "default": {}, "stages": {}}))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone" / "python"))
    assert carry_out.verb(found, Command("run", None, frozenset(), [])) == FAILED
    said = capsys.readouterr().err
    assert f"its worker cannot be started: {tmp_path}/gone/python: No such file or directory" in said
    assert "Traceback" not in said


def test_a_store_that_fills_up_says_so_in_its_own_process(tmp_path: Path) -> None:
    """`/dev/full` as a file of the store: a real error of a real write."""
    code = f"""
from pathlib import Path
from launch import cause
try:
    with open('/dev/full', 'w') as file:
        file.write('x')
        file.flush()
except OSError as error:
    print(cause.of(error, Path({str(tmp_path)!r})))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.startswith(f"no space left on the disk of {tmp_path}")
