"""Artifacts: complete or absent."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stages import artifact
from stages.identity import fingerprint, identity


def record() -> dict[str, Any]:
    preimage = identity("toy", 1, {"a": 1}, {})
    return {
        "fingerprint": fingerprint(preimage),
        "identity": preimage,
        "label": "toy",
        "config": {"a": 1},
        "inputs": {},
        "summary": {},
    }


@pytest.fixture
def published(tmp_path: Path) -> Path:
    draft = tmp_path / ".draft"
    (draft / "model").mkdir(parents=True)
    (draft / "model" / "weights.bin").write_bytes(b"weights")
    (draft / "state").mkdir()
    (draft / "state" / "optimizer.bin").write_bytes(b"momentum")
    artifact.publish(draft, tmp_path / "toy", record())
    return tmp_path / "toy"


def test_a_record_lists_every_output_with_its_hash_and_not_the_state(published: Path) -> None:
    found = artifact.read(published)
    assert found is not None
    assert found["outputs"] == [
        {"path": "model/weights.bin", "size": 7, "sha256": artifact.sha256(published / "model" / "weights.bin")}
    ]
    assert (published / "state" / "optimizer.bin").exists()


def test_the_state_may_be_deleted(published: Path) -> None:
    (published / "state" / "optimizer.bin").unlink()
    assert artifact.read(published) is not None


DAMAGES = ["truncated", "missing output", "shorter output", "other identity", "not an object"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_is_damaged_is_not_done(published: Path, damage: str) -> None:
    file = published / artifact.RECORD
    text = file.read_text()
    if damage == "truncated":
        file.write_text(text[: len(text) // 2])
    elif damage == "missing output":
        (published / "model" / "weights.bin").unlink()
    elif damage == "shorter output":
        (published / "model" / "weights.bin").write_bytes(b"weigh")
    elif damage == "other identity":
        file.write_text(json.dumps({**json.loads(text), "identity": identity("toy", 2, {"a": 1}, {})}))
    else:
        file.write_text("[]")
    assert artifact.read(published) is None


@pytest.mark.parametrize("other", [{"outputs": None}, {"outputs": [{"name": "a"}]}, {"summary": None}, {"schema": 0}])
def test_a_record_of_another_schema_is_not_done(published: Path, other: dict[str, Any]) -> None:
    file = published / artifact.RECORD
    file.write_text(json.dumps({**json.loads(file.read_text()), **other}))
    assert artifact.read(published) is None


def test_an_output_that_is_a_pipe_is_not_done(published: Path) -> None:
    """It has no bytes, as an empty file, and whoever reads it waits."""
    said = json.loads((published / "record.json").read_text())
    os.mkfifo(published / "model" / "log.txt")
    said["outputs"].append({"path": "model/log.txt", "size": 0})
    (published / "record.json").write_text(json.dumps(said))
    assert artifact.read(published) is None


def test_publishing_replaces_a_damaged_artifact(published: Path, tmp_path: Path) -> None:
    (published / artifact.RECORD).write_text("{")
    draft = tmp_path / ".again"
    draft.mkdir()
    (draft / "model.bin").write_bytes(b"new")
    artifact.publish(draft, published, record())
    found = artifact.read(published)
    assert found is not None and [output["path"] for output in found["outputs"]] == ["model.bin"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy"]


def test_files_that_are_hashed_at_once_keep_their_own_hash_and_order(tmp_path: Path) -> None:
    draft = tmp_path / ".draft"
    draft.mkdir()
    sizes = {f"{n:02}.bin": 300_000 if n % 3 == 0 else n for n in range(20)}  # the large ones end later
    for name, size in sizes.items():
        (draft / name).write_bytes(name.encode() * size)
    artifact.publish(draft, tmp_path / "toy", record())
    found = artifact.read(tmp_path / "toy")
    assert found is not None
    assert [output["path"] for output in found["outputs"]] == list(sizes)
    assert all(output["sha256"] == artifact.sha256(tmp_path / "toy" / output["path"]) for output in found["outputs"])
