"""Reading of checkpoint files, and what is refused in them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stages.contract import StageError
from stages.rejuvenation import weights
from tests import tiny_models


def test_blocks_of_rows_cover_a_tensor_once() -> None:
    wide = weights.BLOCK // 2
    assert list(weights.row_blocks((5, wide))) == [(0, 2), (2, 4), (4, 5)]
    assert list(weights.row_blocks((2, 3 * weights.BLOCK))) == [(0, 1), (1, 2)]
    assert list(weights.row_blocks((7,))) == [(0, 7)]
    assert list(weights.row_blocks(())) == [(0, 1)]
    assert list(weights.row_blocks((0, 4))) == []


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    whole = weights.Weights(tiny_models.base(tmp_path / "whole"), tied=False)
    parts = weights.Weights(tiny_models.base(tmp_path / "parts", shard_size="20KB"), tied=False)
    assert len(whole.files) == 1 and len(parts.files) > 2
    assert whole.shapes == parts.shapes
    for name, values in load_file(whole.files[0]).items():
        assert torch.equal(parts.rows(parts.tensors[name], 1, 3), values[1:3])
        assert parts.tensors[name].elements == math.prod(values.shape)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    file = tiny_models.base(tmp_path / "base") / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(StageError, match=r"model\.safetensors: truncated or damaged: \d+ bytes"):
        weights.Weights(file.parent, tied=False)
    file.write_bytes(b"abc")
    with pytest.raises(StageError, match="not a readable safetensors file"):
        weights.Weights(file.parent, tied=False)


def test_other_formats_and_missing_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="only safetensors checkpoints are read"):
        weights.Weights(tmp_path, tied=False)
    folder = tiny_models.base(tmp_path / "base", shard_size="20KB")
    sorted(folder.glob("*.safetensors"))[0].unlink()
    with pytest.raises(StageError, match="names files that are missing: model-00001-of-"):
        weights.Weights(folder, tied=False)
