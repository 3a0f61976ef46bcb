"""Jobs run what was submitted, whatever is edited while they wait: the code, its packages, the config, the files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from launch import snapshot
from stages import artifact
from tests.conftest import ROOT
from tests.slurm.cluster import Cluster
from tests.slurm.toy import Toy

pytestmark = pytest.mark.usefixtures("toys")

STAGE = """
from stages.toy_shell import *
from pathlib import Path

def run(config, context):
    (context.output / "model.txt").write_text("{word} " + config.command)
    return {{}}
"""
#: Both are edited; the config reaches the job in its node.json.
EXPERIMENT = """# @package _global_
name: frozen
base: [toy_say]
toy_say: {command: %s}
variants: {A: [toy_say]}
"""
#: Jobs are held until they are released.
CLUSTER = """launcher: slurm
grace: 10
default: {cpus: 1, gpus: 0, per_device_batch: 1, graders: 1, time: 5, memory: 0.2, sbatch: {hold: true}}
stages: {}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A repository of its own with the project's files, a stage that says something, and an experiment."""
    folder = tmp_path / "project"
    for package in ("conf", "hydra_plugins", "launch", "orchestrator", "stages"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests/toys/stages/toy_shell.py", folder / "stages")
    (folder / "stages/toy_say.py").write_text(STAGE.format(word="before"))
    (folder / "conf/experiment/frozen.yaml").write_text(EXPERIMENT % "one")
    (folder / "conf/cluster/toy.yaml").write_text(CLUSTER)
    (folder / ".gitignore").write_text("__pycache__\n/store/\nignored.txt\n")
    git(folder, "init", "--quiet")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org")
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=what is there")
    return git(folder, "rev-parse", "HEAD").strip()


def submit(project: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the project's own command line."""
    command = [sys.executable, "-m", "orchestrator", "+experiment=frozen", "cluster=toy", *more]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def release(slurm: Cluster) -> None:
    """Let the held jobs run, and wait until they have."""
    for job in slurm.run("squeue", "--noheader", "--format=%A").split():
        slurm.run("scontrol", "release", job)
    slurm.wait_until(lambda: not slurm.run("squeue", "--noheader"))


def records(project: Path) -> dict[str, dict[str, Any]]:
    """What was said -> the record."""
    folders = [path.parent for path in (project / "store/toy_say").glob("[!.]*/record.json")]
    return {(folder / "model.txt").read_text(): artifact.read(folder) or {} for folder in folders}


def test_edits_do_not_reach_what_waits(slurm: Cluster, project: Path) -> None:
    first = git(project, "rev-parse", "HEAD").strip()
    (project / "notes.txt").write_text("untracked")
    (project / "ignored.txt").write_text("ignored")
    (project / ".env").write_text("TOKEN=canary")
    done = submit(project)
    assert done.returncode == 0, done.stderr
    (project / "stages/toy_say.py").write_text(STAGE.format(word="after"))
    (project / "conf/experiment/frozen.yaml").write_text(EXPERIMENT % "two")
    (project / "launch/worker.py").write_text("raise SystemExit('not what was submitted')")
    release(slurm)
    assert list(records(project)) == ["before one"]
    assert records(project)["before one"]["git"] == {"commit": first, "dirty": True}
    assert "do not get 2 files" in done.stderr and ".env, notes.txt" in done.stderr
    (frozen,) = snapshot.folders(project / "store")
    assert not (frozen / "notes.txt").exists()
    assert not (frozen / "ignored.txt").exists() and not (frozen / ".env").exists()


def test_equal_trees_share_a_snapshot_and_each_record_has_its_own_commit(slurm: Cluster, project: Path) -> None:
    first = git(project, "rev-parse", "HEAD").strip()
    (project / "stages/notes.txt").write_text("untracked")
    assert submit(project).returncode == 0
    second = commit(project)
    assert submit(project, "toy_say.command=two").returncode == 0
    assert len(snapshot.folders(project / "store")) == 1
    release(slurm)
    assert {said: record["git"] for said, record in records(project).items()} == {
        "before one": {"commit": first, "dirty": True},
        "before two": {"commit": second, "dirty": False},
    }


def test_a_folder_with_more_than_code_is_refused_by_name(slurm: Cluster, project: Path) -> None:
    with (project / "stages/weights.bin").open("wb") as file:
        file.truncate(snapshot.MOST_BYTES + 1)
    done = submit(project)
    assert done.returncode == 2
    assert "the largest stages/weights.bin" in done.stderr
    assert slurm.run("squeue", "--noheader") == ""


SHELL: dict[str, list[Any]] = {"A": [{"toy_shell": {"command": "echo it ran"}}]}
HELD: dict[str, Any] = {"sbatch": {"hold": True}}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages that is edited while the job waits."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ["PYTHONPATH"]]))
    return folder


def test_changed_packages_are_refused(slurm: Cluster, tmp_path: Path, site: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", SHELL, **HELD)
    toy.run()
    installed = site / "trl-99.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: trl\nVersion: 99\n")
    release(slurm)
    reason = toy.entry("toy_shell").reason
    assert reason.startswith("failed before: packages have changed since this was submitted: trl ")
    assert reason.endswith(" -> 99; run the command again to submit it with these")


def test_code_from_elsewhere_is_refused(slurm: Cluster, tmp_path: Path, site: Path) -> None:
    toy = Toy(slurm, tmp_path / "store", SHELL, **HELD)
    toy.run()
    (site / "sitecustomize.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nimport stages\n")
    release(slurm)
    assert f"stages was imported from {ROOT / 'stages'}" in toy.entry("toy_shell").reason
    assert "the code that was submitted" in toy.entry("toy_shell").reason


def rows(folder: Path) -> tuple[dict[str, Any], dict[str, list[Any]], Path]:
    file = folder / "rows.jsonl"
    file.write_text('{"prompt": "1+1=", "completion": "2"}\n')
    fields = {"prompt": "{{ prompt }}", "completion": "{{ completion }}"}
    return {"calibration": {"path": str(file), "fields": fields}}, {"A": [{"toy_read": {}}]}, file


def model(folder: Path) -> tuple[dict[str, Any], dict[str, list[Any]], Path]:
    base = folder / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    save_file({"x": torch.zeros(1)}, base / "model.safetensors")
    (base / "model.txt").write_text("1.5")
    return {"base": str(base)}, {"A": [{"toy_train": {"epochs": 1}}]}, base / "model.txt"


@pytest.mark.parametrize(("make", "stage"), [(rows, "toy_read"), (model, "toy_train")])
def test_a_file_that_was_edited_while_the_job_waited_is_not_read(
    slurm: Cluster, tmp_path: Path, make: Callable[[Path], Any], stage: str
) -> None:
    outside, variants, file = make(tmp_path)
    toy = Toy(slurm, tmp_path / "store", variants, study={"outside": outside}, **HELD)
    toy.run()
    before = file.read_text()
    file.write_text(before.replace("1", "3"))
    release(slurm)
    kind = "calibration" if stage == "toy_read" else "checkpoint"
    assert toy.entry(stage).reason == (
        f"failed before: input {kind}: {file} has changed since this was submitted; run the command again"
    )
    again = Toy(slurm, tmp_path / "store", variants, study={"outside": outside})
    assert again.run("--wait") == 0


def test_a_file_that_did_not_change_is_not_hashed_again(slurm: Cluster, tmp_path: Path) -> None:
    outside, variants, file = model(tmp_path)
    (tmp_path / "store").mkdir()
    toy = Toy(slurm, tmp_path / "store", variants, study={"outside": outside}, **HELD)
    toy.run()
    memory = tmp_path / "store/.sources.json"
    known = json.loads(memory.read_text())
    wrong = {key: "0" * 64 if key.startswith(f"{file}:") else value for key, value in known.items()}
    assert wrong != known
    memory.write_text(json.dumps(wrong))  # had the job looked into the file, it would not notice
    release(slurm)
    assert f"{file} has changed" in toy.entry("toy_train").reason
