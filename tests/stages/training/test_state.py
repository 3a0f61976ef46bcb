"""Training state is data: what somebody has put into a checkpoint is not run, and what is spoilt is named."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import Trainer

from stages.contract import StageError
from stages.saved import Saved
from stages.training import checkpoints, saving, state

#: Every file that transformers, TRL, accelerate or this project might read of a checkpoint by `torch.load`.
PICKLES = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "rng_state_0.pth", "scaler.pt")


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self._place),)


def made(work: Path, step: int) -> Path:
    """A checkpoint as the trainer leaves it."""
    checkpoint = work / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    random = {"python": (3, (1, 2), None), "numpy": np.random.get_state(), "cpu": torch.random.get_rng_state()}
    content = {name: optimizer.state_dict() for name in PICKLES} | {name: random for name in PICKLES if "rng" in name}
    for name, value in content.items():
        torch.save(value, checkpoint / name)
    save_file({"weight": torch.ones(2)}, checkpoint / "model.safetensors")
    (checkpoint / "trainer_state.json").write_text("{}")
    (checkpoint / checkpoints.COMPLETE).touch()
    return checkpoint


@pytest.mark.parametrize("name", PICKLES)
def test_what_would_run_is_refused_and_named(tmp_path: Path, name: str) -> None:
    checkpoint = made(tmp_path, 1)
    assert state.defect(checkpoint) is None
    torch.save({"state": Canary(tmp_path / "ran")}, checkpoint / name)
    defect = state.defect(checkpoint)
    assert defect is not None and defect.startswith(f"{checkpoint / name} is spoilt, and was not loaded")
    with pytest.raises(StageError, match="is spoilt"):
        state.load(checkpoint / name)
    assert not (tmp_path / "ran").exists()


def test_the_canary_would_run(tmp_path: Path) -> None:
    torch.save(Canary(tmp_path / "ran"), tmp_path / "file.pt")
    torch.load(tmp_path / "file.pt", weights_only=False)
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("asked", ["0", "1"])
def test_nobody_can_ask_for_it_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """torch loads whole pickles if TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD says so and nobody else says anything."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", asked)
    torch.save({"state": Canary(tmp_path / "ran")}, tmp_path / "optimizer.pt")
    with pytest.raises(StageError):
        state.load(tmp_path / "optimizer.pt")
    assert not (tmp_path / "ran").exists()


def test_what_transformers_loads_by_itself_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The state of the generators of random numbers is read by its Trainer, after `defect` has seen it."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    checkpoint = made(tmp_path, 1)
    torch.save(Canary(tmp_path / "ran"), checkpoint / "rng_state.pth")
    trainer = SimpleNamespace(args=SimpleNamespace(world_size=1))
    with pytest.raises(Exception, match="weights_only|Weights only"):
        Trainer._load_rng_state(trainer, str(checkpoint))  # type: ignore[arg-type]
    assert not (tmp_path / "ran").exists()


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def linked(file: Path) -> None:
    shutil.move(file, file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "model.safetensors", "trainer_state.json"])
@pytest.mark.parametrize("spoil", [cut, emptied, linked, piped], ids=lambda each: each.__name__)
def test_what_is_spoilt_is_named(tmp_path: Path, name: str, spoil: Callable[[Path], None]) -> None:
    checkpoint = made(tmp_path, 1)
    spoil(checkpoint / name)
    defect = state.defect(checkpoint)
    assert defect is not None and defect.startswith(str(checkpoint / name))


def test_the_checkpoint_before_counts_where_it_is_still_there(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    work = tmp_path / "work"
    context = SimpleNamespace(work=work, saved=Saved(tmp_path))
    before, spoilt = made(work, 1), made(work, 2)
    Saved(tmp_path).record(1)
    torch.save(Canary(tmp_path / "ran"), spoilt / "optimizer.pt")
    assert saving.found(context) == before  # type: ignore[arg-type]
    assert f"{spoilt / 'optimizer.pt'} is spoilt" in capfd.readouterr().out
    Saved(tmp_path).record(2)
    with pytest.raises(StageError, match="optimizer.pt is spoilt.*recorded.*remove .* to start from the beginning"):
        saving.found(context)  # type: ignore[arg-type]
    assert not (tmp_path / "ran").exists()


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    checkpoint = made(tmp_path, 1)
    (checkpoint / "model.safetensors").unlink()
    assert state.defect(checkpoint) == f"{checkpoint / 'model.safetensors'} is not there, or may not be read"
    save_file({"weight": torch.ones(2)}, checkpoint / "model-1.safetensors")
    names = {"weight": "model-1.safetensors", "other": "model-2.safetensors"}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    assert state.defect(checkpoint) == f"{checkpoint / 'model-2.safetensors'} is not there, or may not be read"


@pytest.mark.parametrize(("folder", "file"), [(0o2755, 0o640), (0o755, 0o600)], ids=["shared", "one's own"])
def test_the_group_of_a_shared_store_can_go_on_from_what_a_killed_process_saved(
    tmp_path: Path, folder: int, file: int
) -> None:
    checkpoint = made(tmp_path, 1)
    checkpoint.chmod(folder)
    assert stat.S_IMODE((checkpoint / "model.safetensors").stat().st_mode) == 0o600, "as safetensors writes it"
    checkpoints.complete(checkpoint)
    assert stat.S_IMODE((checkpoint / "model.safetensors").stat().st_mode) == file


def test_what_is_continued_is_regular_files(tmp_path: Path) -> None:
    artifact = tmp_path / "artifact"
    checkpoints.publish(made(tmp_path / "other", 3), artifact / "model", artifact / "state")
    (tmp_path / "secret").write_text("secret")
    (artifact / "state" / "rng_state_7.pth").symlink_to(tmp_path / "secret")
    os.mkfifo(artifact / "state" / "pipe.pt")
    folder = checkpoints.continued(artifact, tmp_path / "work")
    assert not {"rng_state_7.pth", "pipe.pt"} & {file.name for file in folder.iterdir()}
