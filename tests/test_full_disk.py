"""A disk that fills up in the middle of a checkpoint: one message, nothing half, and the same command goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages import artifact
from tests import tiny_models

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, with room for the checkpoint, 4 bytes of 372,352 parameters, but not for the rest beside it.

    With less, the run would be refused before it begins.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def rejuvenate(models: Path, store: Path) -> subprocess.CompletedProcess[str]:
    settings = ["rejuvenate.rho=0.01", "attribute.samples=4", "attribute.targets_per_sample=2"]
    places = [f"base={models}/base", f"checkpoint={models}/sft", f"calibration={models}/rows.jsonl", f"store={store}"]
    command = [sys.executable, "-m", "orchestrator", "+experiment=rejuvenate", *places, *settings]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_a_full_disk_stops_the_stage_and_more_room_lets_it_go_on(disk: Path, tmp_path: Path) -> None:
    tiny_models.base(tmp_path / "base", hidden_size=128, intermediate_size=256)
    tiny_models.sft(tmp_path / "sft", tmp_path / "base")
    tiny_models.calibration(tmp_path / "rows.jsonl")
    store = disk / "store"

    first = rejuvenate(tmp_path, store)
    assert first.returncode == 1
    assert f"error: rejuvenate/Rejuvenated: no space left on the disk of {store}" in first.stderr
    assert [folder.name for folder in store.glob("rejuvenate/[!.]*")] == []
    (attribution,) = store.glob("attribute/[!.]*")
    assert artifact.read(attribution) is not None

    (disk / "fill").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_bsize))
    full = rejuvenate(tmp_path, store)
    assert (full.returncode, full.stderr) == (2, f"error: store={store}: cannot be written: No space left on device\n")
    (disk / "fill").unlink()

    subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
    last = rejuvenate(tmp_path, store)
    assert last.returncode == 0 and "attribute/Rejuvenated" not in last.stdout
    (made,) = store.glob("rejuvenate/[!.]*")
    assert artifact.read(made) is not None
