"""The environment of a job: it has what the head had, secrets included, and nothing of a job that submits."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from pathlib import Path

import pytest

from launch import boot, snapshot
from tests.slurm.cluster import Cluster
from tests.slurm.toy import Toy

pytestmark = pytest.mark.usefixtures("toys")


def test_secrets_reach_jobs_and_are_written_nowhere(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canaries = {name: secrets.token_hex(20) for name in ("HF_TOKEN", "WANDB_API_KEY")}
    for name, value in canaries.items():
        monkeypatch.setenv(name, value)
    test = " && ".join(f'test "$(echo ${name} | rev)" = {value[::-1]}' for name, value in canaries.items())
    variants = {"A": [{"toy_shell": {"command": test}}], "B": [{"toy_ranks": {"steps": 1}}]}
    toy = Toy(slurm, tmp_path / "store", variants, processes=2)
    toy.run()
    jobs = [toy.job("toy_shell"), toy.job("toy_ranks")]
    shown = "".join(slurm.run("scontrol", "show", "--details", "job", job) for job in jobs)
    shown += "".join(slurm.run("scontrol", "write", "batch_script", job, "-") for job in jobs)
    assert toy.run("--wait") == 0
    files = [file for file in (tmp_path / "store").rglob("*") if file.is_file()]
    assert any(file.name.endswith(".sh") for file in files)
    for value in canaries.values():
        assert value not in shown
        assert [file for file in files if value.encode() in file.read_bytes()] == []


INNER = """
from pathlib import Path
from tests.slurm.toy import Toy
toy = Toy(None, Path({store!r}), {{"A": [{{"toy_shell": {{"command": "env"}}}}]}})
toy.run("--wait")
print(toy.record("toy_shell")["summary"]["printed"])
"""


def test_a_job_can_submit_jobs(slurm: Cluster, tmp_path: Path) -> None:
    inner = shlex.join([sys.executable, "-c", INNER.format(store=str(tmp_path / "inner"))])
    outside = 'echo "OUTER=$SLURM_JOB_ID"; export SLURM_CANARY=1 SBATCH_HOLD=1; '
    toy = Toy(slurm, tmp_path / "store", {"A": [{"toy_shell": {"command": outside + inner}}]}, cpus=2)
    assert toy.run("--wait") == 0, toy.log("toy_shell")
    lines = toy.record("toy_shell")["summary"]["printed"].splitlines()
    seen = dict(line.partition("=")[::2] for line in lines)
    assert seen["SLURM_CONF"] == str(slurm.conf)
    assert seen["SLURM_JOB_ID"] != seen["OUTER"] == toy.record("toy_shell")["jobs"]["SLURM_JOB_ID"]
    assert (seen["SLURM_CPUS_PER_TASK"], seen["OMP_NUM_THREADS"]) == ("1", "1")
    assert "SLURM_CANARY" not in seen and "SBATCH_HOLD" not in seen
    (outer,), (inner_code,) = (snapshot.folders(tmp_path / each) for each in ("store", "inner"))
    assert outer.name == inner_code.name
    assert seen["PYTHONPATH"].split(os.pathsep)[0] == seen[boot.CODE]
    assert not Path(seen[boot.CODE]).exists()  # a copy, which went with its job


def test_defaults_of_the_user_hold_where_the_config_says_nothing(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SBATCH_PARTITION", "gpu")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "99")
    for partition, expected in ((None, "gpu"), ("short", "short")):
        toy = Toy(slurm, tmp_path / expected, {"A": [{"toy_shell": {"command": "true"}}]}, partition=partition, time=1)
        toy.run()
        queued = slurm.run("squeue", "--noheader", "--states=all", f"--jobs={toy.job('toy_shell')}", "--format=%P %l")
        assert queued == f"{expected} 1:00"
