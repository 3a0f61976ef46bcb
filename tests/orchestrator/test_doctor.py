"""The doctor: a line for each thing, a sentence where something degrades, exit code 1 where nothing can run."""

import json
from pathlib import Path

import pytest

from launch.job import Allocation
from orchestrator import slurm_findings, volume
from orchestrator.__main__ import main
from orchestrator.slurm_findings import Partition

CPU = Partition(name="cpu", default=True, up=True, time=60.0, nodes=3, cpus=8, memory=4096, gpus=0, gres="(null)")
GPU = Partition(name="gpu", default=False, up=True, time=None, nodes=2, cpus=8, memory=8192, gpus=4, gres="gpu:a:4")


def test_a_machine_without_slurm_runs_studies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json", f"store={tmp_path}"]) == 0
    found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert found.keys() >= {"cores", "GPUs", "Python", "store", "store's file system", "free space", "shared by"}
    assert int(found["cores"]["value"]) > 0


def test_where_there_is_no_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor", "cluster=slurm", f"store={tmp_path}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("error  sbatch") and line.endswith("not on the PATH") for line in lines)
    assert any(line.endswith("-> nothing can be submitted") for line in lines)


def test_a_probe_is_a_job_of_slurm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--probe", f"store={tmp_path}"]) == 2
    assert "cluster.launcher=local; add cluster=slurm" in capsys.readouterr().err


def test_a_wrong_cluster_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "cluster=slurmm"]) == 2
    assert "cluster=slurmm: no such cluster; did you mean 'slurm'?" in capsys.readouterr().err
    assert main(["doctor", "cluster=slurm", "cluster.default.cpus=0"]) == 2
    assert "cluster.default.cpus=0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("needs", "ranks", "wrong"),
    [
        (Allocation(cpus=8, time=60), 1, None),
        (Allocation(time=61), 1, "partition cpu allows 60 min; lower time, or choose another partition"),
        (Allocation(gpus=1), 1, "no machine of partition cpu has 1 GPUs, the largest has 0"),
        (Allocation(gpus=4, cpus=2, partition="gpu"), 4, None),
        (Allocation(gpus=4, cpus=3, partition="gpu"), 4, "no machine of partition gpu has 12 cores, the largest has 8"),
        (Allocation(memory=5), 1, "no machine of partition cpu has 5 GB, the largest has 4"),
        (
            Allocation(partition="gqu"),
            1,
            "there is no partition gqu; did you mean 'gpu'?; allowed: cpu, gpu",
        ),
    ],
)
def test_a_class_against_its_partition(needs: Allocation, ranks: int, wrong: str | None) -> None:
    assert slurm_findings._misfit(needs, ranks, [CPU, GPU]) == wrong


@pytest.mark.parametrize(
    ("text", "minutes"), [("infinite", None), ("1:30", 1.5), ("2:00:00", 120), ("1-00:00:00", 1440)]
)
def test_time_limits_of_sinfo(text: str, minutes: float | None) -> None:
    assert slurm_findings._minutes(text) == minutes


@pytest.mark.parametrize(
    ("gres", "gpus"), [("(null)", 0), ("gpu:8", 8), ("gpu:h100:8(S:0-1)", 8), ("gpu:a:2,gpu:b:2,shard:8", 4)]
)
def test_gpus_of_sinfo(gres: str, gpus: int) -> None:
    assert slurm_findings._partition("p*", "up", "infinite", "1", "8", "4000+", gres).gpus == gpus


def test_the_file_system_of_a_path(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    inner = tmp_path / "a b"
    inner.mkdir()
    quoted = str(inner).replace(" ", r"\040")
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {quoted} nfs4 rw 0 0\n")
    assert volume.type_of(inner / "store", mounts) == "nfs4"
    assert volume.type_of(tmp_path, mounts) == "ext4"


def test_a_shared_store(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o775)
    (finding,) = [each for each in volume.findings(tmp_path / "open", remote=False) if each.what == "shared by"]
    assert finding.value.endswith("without setgid") and "chmod g+s" in finding.means
    (tmp_path / "open").chmod(0o2775)
    (finding,) = [each for each in volume.findings(tmp_path / "open", remote=False) if each.what == "shared by"]
    assert not finding.means
