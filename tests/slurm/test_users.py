"""Two users in one store: what one of them has in flight is not run again by the other."""

from __future__ import annotations

import contextlib
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


def started(store: Path) -> list[str]:
    """The trainings that are being worked on."""
    labels = []
    for file in store.glob("toy_train/.*/user-*/attempts"):
        with contextlib.suppress(FileNotFoundError):  # published just now: the folder is being removed
            labels.append(json.loads((file.parent / "node.json").read_text())["label"])
    return labels


def test_a_second_user_attaches_and_finishes_after_the_first(slurm: Cluster, shared: Path) -> None:
    submitted, _ = done(head(slurm, "alice", shared))
    assert len(submitted["jobs"]) == 9
    last = hold_last(slurm, submitted)
    status, _ = done(head(slurm, "bob", shared, "status"))
    assert any("of alice waits" in node["reason"] for node in status["nodes"])
    running = head(slurm, "bob", shared, "--wait")
    assert running.stderr is not None
    told = next(line for line in running.stderr if "calls of sbatch" in line or "of alice" in line)
    assert "of alice" in told  # he has seen her jobs, and only now may they end
    slurm.run("scontrol", "release", last)
    told += running.stderr.read()  # by the same reader: it may have more of it already
    done(running)
    assert "0 nodes in 0 jobs, by 0 calls of sbatch" in told
    assert set(owners(shared).values()) == {"alice"} and len(owners(shared)) == 9


def test_a_second_user_goes_on_where_the_first_was_stopped(slurm: Cluster, shared: Path) -> None:
    done(head(slurm, "alice", shared, "--seconds=1.5"))
    published = "toy_train/[!.]*/record.json"
    slurm.wait_until(lambda: len(list(shared.glob(published))) == 3 and started(shared) == ["Long"])
    slurm.run("scancel", "--user=alice")  # in the first of the two epochs of the longest training
    slurm.wait_until(lambda: not slurm.run("squeue", "--noheader"))
    (saved,) = shared.glob("toy_train/.*/user-*/saved.json")
    assert saved.owner() == "alice"
    done(head(slurm, "bob", shared, "--wait", "--seconds=1.5"))
    made = owners(shared)
    assert len(made) == 9
    assert {owner for name, owner in made.items() if name.startswith("Long")} >= {"bob"}
    attempts = [json.loads(file.read_text())["attempts"] for file in shared.glob(published)]
    assert sorted(attempts) == [1, 1, 1, 2]


def test_hidden_jobs_of_others_are_waited_for(make_cluster: Callable[..., Cluster], shared: Path) -> None:
    cluster = make_cluster(accounting=False, private=True)
    submitted, _ = done(head(cluster, "alice", shared, "--seconds=0.1"))
    last = hold_last(cluster, submitted)
    # Nobody touches the claim of a job that waits, and so it might be lost: bob cannot know.
    cluster.wait_until(lambda: len(owners(shared)) == 8)
    waiting = head(cluster, "bob", shared, "--wait", "--seconds=0.1")
    cluster.wait_until(lambda: any("hides the jobs of others" in reason for reason in reasons(cluster, shared)))
    cluster.run("scontrol", "release", last)
    done(waiting)
    assert set(owners(shared).values()) == {"alice"} and len(owners(shared)) == 9


def hold_last(cluster: Cluster, submitted: dict[str, Any]) -> str:
    """Hold the job that depends on all others; it is in flight until it is released."""
    last = max(submitted["jobs"], key=lambda job: int(job.partition("_")[0]))
    cluster.run("scontrol", "hold", last)
    return last


def reasons(cluster: Cluster, store: Path) -> list[str]:
    """What bob is told of the nodes."""
    return [node["reason"] for node in done(head(cluster, "bob", store, "status", "--seconds=0.1"))[0]["nodes"]]
