"""Nothing that a stage reads is a pickle that could run code, whatever its file is called."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.contract import StageError
from stages.data import tables
from stages.modeling import checkpoint
from tests import tiny_models


class Canary:
    """An object whose pickle leaves a file where it is loaded."""

    def __init__(self, place: Path) -> None:
        self._code = f"open({str(place)!r}, 'w').close()"

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self._code,)


def arrays(canary: Canary) -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([canary], dtype=object), allow_pickle=True)
    return file.getvalue()


def tensors(canary: Canary) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": canary}, file)
    return file.getvalue()


def archive(**files: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for kind, data in {**files, "json": b"{}"}.items():
            entry = tarfile.TarInfo(f"0.{kind}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file.getvalue()


CARD = b"---\nconfigs:\n- config_name: default\n  data_files: train.pkl\n  builder_name: pandas\n---\n"
CODE = b"---\na: !!python/object/apply:builtins.exec [\"open('%s', 'w')\"]\n---\n"


def files(kind: str, canary: Canary, ran: Path) -> dict[str, bytes]:
    """The files of a data set, by name."""
    loaded = pickle.dumps(canary)
    return {
        "a pickle": {"train.pkl": loaded},
        "a pickle that a card names": {"train.pkl": loaded, "README.md": CARD},
        "a pickle called parquet": {"train.parquet": loaded},
        "a pickle called CSV": {"train.csv": loaded},
        "objects of numpy": {"train.npy": arrays(canary)},
        "an archive with arrays": {"train.tar": archive(npy=arrays(canary))},
        "an archive with tensors": {"train.tar": archive(pth=tensors(canary))},
        "a card with code": {"train.jsonl": b"{}", "README.md": CODE % bytes(ran)},
        "a script": {"data.py": canary._code.encode(), "train.jsonl": b"{}"},
    }[kind]


KINDS = (
    *("a pickle", "a pickle that a card names", "a pickle called parquet", "a pickle called CSV", "objects of numpy"),
    *("an archive with arrays", "an archive with tensors", "a card with code", "a script"),
)


@pytest.mark.parametrize("kind", KINDS)
def test_no_data_set_runs_code(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    (tmp_path / "data").mkdir()
    for name, data in files(kind, Canary(tmp_path / "ran"), tmp_path / "ran").items():
        (tmp_path / "data" / name).write_bytes(data)
    with pytest.raises(StageError, match=str(tmp_path / "data")) as raised:
        list(tables.folder_rows(tmp_path / "data", None, "train"))
    assert not (tmp_path / "ran").exists()
    if kind == "a script":
        assert "has a loading script, data.py, whose code is never run here" in str(raised.value)


def test_archives_may_have_pickles_beside_the_rows_and_they_stay_bytes(tmp_path: Path) -> None:
    loaded = pickle.dumps(Canary(tmp_path / "ran"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.tar").write_bytes(archive(pickle=loaded, pyd=loaded))
    (row,) = tables.folder_rows(tmp_path / "data", None, "train")
    assert (row["pickle"], row["pyd"]) == (loaded, loaded)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_no_weights_run_code(tmp_path: Path, name: str) -> None:
    folder = tiny_models.base(tmp_path / "base")
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(tensors(Canary(tmp_path / "ran")))
    with pytest.raises(StageError):
        checkpoint.load_model(tiny_models.source(folder), dtype="float32")
    assert not (tmp_path / "ran").exists()
