"""Reading of checkpoint files, and what is refused in them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages import weight_files
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


def edit_header(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Rewrite the header of a safetensors file, and leave its data as it is."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def test_a_header_that_does_not_describe_its_data_is_refused(tmp_path: Path) -> None:
    file = tiny_models.base(tmp_path / "base") / "model.safetensors"
    edit_header(file, lambda header: header["model.norm.weight"].update(shape=[31]))
    with pytest.raises(
        StageError, match=r"damaged: 128 bytes for model\.norm\.weight, which has shape \[31\] and dtype F32"
    ):
        weights.Weights(file.parent, tied=False)
    edit_header(file, lambda header: header["model.norm.weight"].pop("shape"))
    with pytest.raises(StageError, match="not a readable safetensors file"):
        weights.Weights(file.parent, tied=False)


def test_an_index_and_its_files_have_to_agree(tmp_path: Path) -> None:
    folder = tiny_models.base(tmp_path / "base", shard_size="20KB")
    first, second = sorted(folder.glob("*.safetensors"))[:2]
    index = json.loads((folder / weight_files.INDEX).read_text())
    more = {**index["weight_map"], "model.extra": first.name}
    (folder / weight_files.INDEX).write_text(json.dumps({**index, "weight_map": more}))
    with pytest.raises(StageError, match=r"names model\.extra, which is in none of its files \(1 such\)"):
        weights.Weights(folder, tied=False)
    (folder / weight_files.INDEX).write_text(json.dumps(index))
    name, values = next(iter(load_file(first).items()))
    save_file({**load_file(second), name: values}, second)
    with pytest.raises(StageError, match=f"{name} is in both {first.name} and {second.name}"):
        weights.Weights(folder, tied=False)


def test_a_file_that_becomes_shorter_is_noticed(tmp_path: Path) -> None:
    opened = weights.Weights(tiny_models.base(tmp_path / "base"), tied=False)
    os.truncate(opened.files[0], 1000)
    last = max(opened.tensors.values(), key=lambda tensor: tensor.end)
    with pytest.raises(StageError, match=f"became shorter while {last.name} was read"):
        opened.rows(last, 0, last.shape[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_that_is_not_finite_is_named_with_its_first_index(tmp_path: Path, dtype: str) -> None:
    folder = tiny_models.base(tmp_path / "base", dtype=dtype)
    values = load_file(folder / "model.safetensors")
    values["model.norm.weight"][:] = torch.finfo(values["model.norm.weight"].dtype).max  # finite, but not their sum
    values["lm_head.weight"][250:, 7] = math.nan
    values["model.layers.0.mlp.up_proj.weight"][3, 30] = -math.inf
    save_file(values, folder / "model.safetensors")
    opened = weights.Weights(folder, tied=False)
    with pytest.raises(StageError) as caught:
        weights.refuse_not_finite(opened, opened)
    found = sorted(line.removeprefix(f"{folder}/model.safetensors: ") for line in str(caught.value).splitlines())
    assert found == 2 * ["lm_head.weight[250, 7] is nan"] + 2 * ["model.layers.0.mlp.up_proj.weight[3, 30] is -inf"]


def test_other_formats_and_missing_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="only safetensors checkpoints are read"):
        weights.Weights(tmp_path, tied=False)
    folder = tiny_models.base(tmp_path / "base", shard_size="20KB")
    sorted(folder.glob("*.safetensors"))[0].unlink()
    with pytest.raises(StageError, match="names files that are missing: model-00001-of-"):
        weights.Weights(folder, tied=False)
