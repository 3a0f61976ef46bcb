from pathlib import Path

import pytest

from stages.contract import Lost
from stages.training import checkpoints


def _checkpoint(folder: Path, step: int, done: bool = True) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    files = ("model.safetensors", "config.json", "tokenizer.json", "optimizer.pt", "rng_state.pth")
    for name in (*files, "trainer_state.json", "training_args.bin"):
        (checkpoint / name).write_text(f"{name} of {step}")
    if done:
        (checkpoint / checkpoints.COMPLETE).touch()
    return checkpoint


def _names(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_only_complete_checkpoints_count(tmp_path):
    assert checkpoints.latest(tmp_path) is None
    _checkpoint(tmp_path, 8)
    _checkpoint(tmp_path, 16)
    _checkpoint(tmp_path, 24, done=False)
    assert checkpoints.latest(tmp_path).name == "checkpoint-16"
    checkpoints.discard_incomplete(tmp_path)
    assert _names(tmp_path) == {"checkpoint-8", "checkpoint-16"}


def test_a_complete_checkpoint_replaces_the_ones_before_it(tmp_path):
    _checkpoint(tmp_path, 8)
    newer = _checkpoint(tmp_path, 16, done=False)
    checkpoints.complete(newer)
    assert _names(tmp_path) == {"checkpoint-16"}
    assert checkpoints.latest(tmp_path) == newer


def test_publishing_separates_the_model_from_the_training_state_without_a_second_copy(tmp_path):
    checkpoint = _checkpoint(tmp_path / "work", 8)
    checkpoints.publish(checkpoint, tmp_path / "model", tmp_path / "state")
    assert _names(tmp_path / "model") == {"model.safetensors", "config.json", "tokenizer.json"}
    assert _names(tmp_path / "state") == {"optimizer.pt", "rng_state.pth", "trainer_state.json"}
    assert (tmp_path / "model" / "model.safetensors").samefile(checkpoint / "model.safetensors")


def test_what_was_published_can_be_continued(tmp_path):
    checkpoint = _checkpoint(tmp_path / "work", 8)
    checkpoints.publish(checkpoint, tmp_path / "artifact" / "model", tmp_path / "artifact" / "state")
    folder = checkpoints.continued(tmp_path / "artifact", tmp_path / "work")
    names = {"model.safetensors", "config.json", "optimizer.pt", "rng_state.pth", "trainer_state.json"}
    assert _names(folder) == names
    checkpoints.complete(_checkpoint(tmp_path / "work", 9))
    assert not folder.exists()


def test_state_that_is_removed_at_this_moment_is_lost(tmp_path):
    (tmp_path / "artifact" / "model").mkdir(parents=True)
    with pytest.raises(Lost, match="the training state of .* was removed while it was read"):
        checkpoints.continued(tmp_path / "artifact", tmp_path / "work")
