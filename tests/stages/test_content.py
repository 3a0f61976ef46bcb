"""The content of files: what changed is named, and what did not is read once."""

from pathlib import Path

import pytest

from stages import artifact, content
from stages.store import Memory


@pytest.fixture
def known(tmp_path: Path) -> Memory:
    return content.memory(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_text("weights")
    (made / ".lock").write_text("of somebody")
    return made


def test_a_file_that_was_edited_removed_or_added_is_named(folder: Path, known: Memory) -> None:
    then = {"files": content.of_folder(folder, known)}
    assert set(then["files"]) == {"config.json", "model.safetensors"}
    assert content.changed(folder, None, then, known) is None
    (folder / "model.safetensors").write_text("other weights")
    assert content.changed(folder, None, then, known) == str(folder / "model.safetensors")
    (folder / "config.json").unlink()
    assert content.changed(folder, None, then, known) == str(folder / "config.json")
    then = {"files": content.of_folder(folder, known)}
    (folder / "added.json").write_text("{}")
    assert content.changed(folder, None, then, known) == str(folder / "added.json")


def test_one_file_of_a_folder_is_what_counts(folder: Path, known: Memory) -> None:
    then = {"sha256": content.of_file(folder / "config.json", known)}
    (folder / "model.safetensors").write_text("other weights")
    assert content.changed(folder, "config.json", then, known) is None
    assert content.changed(folder / "config.json", None, then, known) is None
    (folder / "config.json").unlink()
    assert content.changed(folder, "config.json", then, known) == str(folder / "config.json")


def test_what_is_remembered_is_not_read_again(folder: Path, tmp_path: Path, known: Memory) -> None:
    content.of_folder(folder, known)
    known.keep()
    again = content.memory(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifact, "sha256", None)
        assert set(content.of_folder(folder, again)) == {"config.json", "model.safetensors"}
    (folder / "config.json").write_text("{ }")
    assert content.of_file(folder / "config.json", again) == artifact.sha256(folder / "config.json")
