"""Two users in one store: what one of them has in flight is not run again by the other."""

from __future__ import annotations

import grp
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages import artifact
from tests.conftest import ROOT, TOYS
from tests.slurm.cluster import LAB, Cluster, users

pytestmark = pytest.mark.skipif(not users(), reason="only root makes users")


@pytest.fixture
def shared() -> Iterator[Path]:
    """A store that the group may write in, made as a lab does."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        os.chmod(folder, 0o755)
        store = Path(folder) / "store"
        store.mkdir()
        os.chown(store, -1, grp.getgrnam(LAB).gr_gid)
        store.chmod(0o2775)
        yield store


def python() -> str:
    """An interpreter of this version that every user may start; virtual environments may lie in somebody's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for each in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        if (
            each
            and subprocess.run(["runuser", "-u", users()[0], "--", each, "-c", ""], capture_output=True).returncode == 0
        ):
            return each
    pytest.skip(f"no {version} that other users may start")


def head(cluster: Cluster, user: str, store: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command of a user, with a umask that keeps the group out."""
    path = os.pathsep.join(map(str, (TOYS, ROOT, sysconfig.get_path("purelib"))))
    variables = {"PYTHONPATH": path, "PATH": os.environ["PATH"], "HOME": f"/home/{user}", **cluster.environment}
    command = [python(), "-m", "tests.slurm.head", str(store), *arguments]
    return subprocess.Popen(
        ["runuser", "-u", user, "--", "env", "--ignore-environment", *(f"{k}={v}" for k, v in variables.items())]
        + ["sh", "-c", 'umask 077; exec "$@"', "sh", *command],
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def done(running: subprocess.Popen[str]) -> tuple[dict[str, Any], str]:
    """What a command that ends well prints: its object, and what it tells people."""
    out, told = running.communicate(timeout=120)
    assert running.returncode == 0, told
    return json.loads(out), told


def owners(store: Path) -> dict[str, str]:
    """Who made each artifact."""
    folders = [path.parent for path in store.glob("[!.]*/[!.]*/record.json")]
    assert all(artifact.read(folder) for folder in folders)
    return {folder.name: folder.owner() for folder in folders}


def test_a_second_user_attaches_and_finishes_after_the_first(slurm: Cluster, shared: Path) -> None:
    submitted, _ = done(head(slurm, "alice", shared, "--seconds=0.4"))
    assert len(submitted["jobs"]) == 9
    jobs = slurm.run("squeue", "--noheader", "--array", "--user=alice", "--format=%i").split()
    status, _ = done(head(slurm, "bob", shared, "status", "--seconds=0.4"))
    assert any("of alice" in node["reason"] for node in status["nodes"])
    _, told = done(head(slurm, "bob", shared, "--wait", "--seconds=0.4"))
    assert "0 nodes in 0 jobs, by 0 calls of sbatch" in told and "of alice" in told
    assert len(jobs) > 0 and len(owners(shared)) == 9
    assert set(owners(shared).values()) == {"alice"}


def test_a_second_user_goes_on_where_the_first_was_stopped(slurm: Cluster, shared: Path) -> None:
    done(head(slurm, "alice", shared, "--seconds=0.4"))
    slurm.wait_until(lambda: len(list(shared.glob("toy_train/.*/saved.json"))) == 3)
    slurm.run("scancel", "--user=alice")
    slurm.wait_until(lambda: not slurm.run("squeue", "--noheader"))
    done(head(slurm, "bob", shared, "--wait", "--seconds=0.4"))
    made = owners(shared)
    assert len(made) == 9
    assert set(made.values()) == {"alice", "bob"}
    attempts = [json.loads(file.read_text())["attempts"] for file in shared.glob("toy_train/[!.]*/record.json")]
    assert max(attempts) == 2


def test_hidden_jobs_of_others_are_waited_for(make_cluster: Callable[..., Cluster], shared: Path) -> None:
    cluster = make_cluster(accounting=False, private=True)
    done(head(cluster, "alice", shared, "--seconds=2"))
    waiting = head(cluster, "bob", shared, "--wait", "--seconds=2")

    def said() -> bool:
        nodes = done(head(cluster, "bob", shared, "status", "--seconds=2"))[0]["nodes"]
        return any("this site hides the jobs of others" in node["reason"] for node in nodes)

    # A claim that nobody has touched for a while: its job waits, or is lost; who could tell?
    cluster.wait_until(said)
    _, told = done(waiting)
    assert set(owners(shared).values()) == {"alice"} and len(owners(shared)) == 9
