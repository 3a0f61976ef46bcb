"""What a record says of the code: asked of git, without a trace in the user's repository."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from launch.provenance import ask_git


def test_asking_for_the_status_writes_nothing_into_the_repository(tmp_path: Path) -> None:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for command in (["init", "--quiet"], ["add", "code.py"], [*who, "commit", "--quiet", "--message=one"]):
        (tmp_path / "code.py").write_text("one\n")
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    os.utime(tmp_path / "code.py", (0, 0))  # touched and not changed, which git would note in its index
    index = (tmp_path / ".git" / "index").read_bytes()
    assert ask_git(tmp_path, "status", "--porcelain") == ""
    assert (tmp_path / ".git" / "index").read_bytes() == index
    (tmp_path / "code.py").write_text("two\n")
    assert ask_git(tmp_path, "status", "--porcelain") == " M code.py\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(("at", "asked"), [("project", True), (".", False)], ids=["the project's own", "one above it"])
def test_the_config_of_a_repository_of_another_user_starts_programs_only_in_the_project_itself(
    tmp_path: Path, at: str, asked: bool
) -> None:
    """The code of the project is run anyway, whoever it belongs to."""
    project, canary = tmp_path / "project", tmp_path / "canary"
    project.mkdir()
    (project / "file").touch()
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {canary}\n")
    hook.chmod(0o755)
    for words in (["init", "--quiet"], ["add", "."], ["config", "core.fsmonitor", str(hook)]):
        subprocess.run(["git", *words], cwd=tmp_path / at, check=True)
    for each in (tmp_path / at, *(tmp_path / at / ".git").rglob("*"), tmp_path / at / ".git"):
        os.chown(each, 64002, -1)
    with contextlib.suppress(subprocess.CalledProcessError):
        ask_git(project, "status", "--porcelain")
    assert canary.exists() == asked
