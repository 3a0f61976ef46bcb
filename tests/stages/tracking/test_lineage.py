"""Artifacts of the store as artifacts of W&B: by reference, and the same wherever they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.constants import ENDPOINT

from stages.store import Store
from stages.tracking import lineage

pytestmark = pytest.mark.slow  # wandb takes seconds to load


class Noted:
    """A run, as far as lineage knows it."""

    def __init__(self) -> None:
        self.logged: list[Any] = []
        self.used: list[Any] = []

    def log_artifact(self, artifact: Any) -> None:
        self.logged.append(artifact)

    def _log_artifact(self, artifact: Any, *, use_after_commit: bool, **_: Any) -> None:
        assert use_after_commit
        self.used.append(artifact)


def made(folder: Path, weights: str = "weights") -> tuple[Path, dict[str, Any]]:
    """A checkpoint and its record."""
    texts = {"model/model.safetensors": weights, "training.jsonl": "{}\n"}
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    outputs = [
        {"path": name, "size": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}
        for name, text in texts.items()
    ]
    record = {"fingerprint": "a" * 64, "label": "ModSFT+RL", "identity": {"stage": "grpo"}, "outputs": outputs}
    return folder, record


def test_an_artifact_is_the_same_version_wherever_it_lies_and_another_one_with_other_bytes(tmp_path: Path) -> None:
    here, there = lineage.published(*made(tmp_path / "here")), lineage.published(*made(tmp_path / "there"))
    other = lineage.published(*made(tmp_path / "other", weights="others"))
    assert here.name == "grpo-ModSFT_RL-aaaaaaaaaa" and here.type == "checkpoint"
    assert here.digest == there.digest != other.digest
    entry = here.manifest.entries["model/model.safetensors"]
    assert entry.ref == (tmp_path / "here/model/model.safetensors").as_uri() and entry.size == 7
    assert here.metadata["sha256"]["model/model.safetensors"] == hashlib.sha256(b"weights").hexdigest()


def test_weights_are_uploaded_only_if_that_is_asked_for(tmp_path: Path) -> None:
    for weights, names in ((False, ["checkpoint"]), (True, ["checkpoint", "weights"])):
        run = Noted()
        lineage.log_output(run, *made(tmp_path / str(weights)), weights=weights)
        assert [each.type for each in run.logged] == names
    (entry,) = run.logged[1].manifest.entries.values()
    assert entry.path == "model/model.safetensors" and entry.ref is None


def test_what_comes_from_outside_is_referred_to_as_well(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    run = Noted()
    given = {
        "checkpoint": {"fingerprint": "b" * 64, "hub": "owner/name", "revision": "abc"},
        "calibration": {"fingerprint": "c" * 64, "path": str(tmp_path / "rows.jsonl"), "reading": {"file": "rows"}},
        "problems": {"fingerprint": "d" * 64, "stage": "pretrain", "artifact": "e" * 64},  # no longer in the store
    }
    lineage.use_inputs(run, given, Store(tmp_path))
    refs = {each.type: [entry.ref for entry in each.manifest.entries.values()] for each in run.used}
    assert refs == {
        "source": [f"{ENDPOINT}/owner/name/tree/abc"],
        "dataset": [(tmp_path / "rows.jsonl").as_uri()],
    }
