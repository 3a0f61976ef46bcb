"""What a record says of the code: asked of git, without a trace in the user's repository."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

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
