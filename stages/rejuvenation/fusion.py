"""Fusion and reset of two checkpoints (equations 1 and 5), streamed over their files: a few blocks of rows in memory.

Each output file starts with the header of the checkpoint's own file, byte for byte, so that shards, names, dtypes,
offsets and metadata stay what they were, and is then filled tensor by tensor.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from stages.contract import StageError
from stages.rejuvenation.reset_set import Region, ResetSet
from stages.rejuvenation.weights import INDEX, Stored, Weights, not_finite, read_header, row_blocks

#: Files kept beside the weights, by suffix, and those that a trainer leaves there, which are no part of a model.
_COMPANIONS = (".json", ".jinja", ".model", ".tiktoken", ".txt")
_TRAINER = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json")


def fuse(sft: Tensor, base: Tensor, alpha: float) -> Tensor:
    """alpha * sft + (1 - alpha) * base in the dtype of `sft` (equation 1); a new tensor.

    Three float32 operations, each rounded, and one rounding to the dtype at the end: no fused multiply-add and no
    lerp, so that the result is the same on every device. At alpha 1 and 0 the values are copied, -0.0 included.
    """
    if alpha == 1:
        return sft.clone()
    if alpha == 0:
        return base.to(sft.dtype, copy=True)
    kept = sft.float() * torch.tensor(alpha, dtype=torch.float32)
    pulled = base.float() * torch.tensor(1 - alpha, dtype=torch.float32)
    return kept.add_(pulled).to(sft.dtype)


def reset(fused: Tensor, base: Tensor, rows: Tensor | None, columns: Tensor | None) -> None:
    """Overwrite the masked rows or columns of `fused` with those of `base`, cast to its dtype (equation 5)."""
    if rows is not None:
        fused[rows] = base[rows].to(fused.dtype)
    if columns is not None:
        fused[:, columns] = base[:, columns].to(fused.dtype)


def write(
    sft: Weights, base: Weights, alpha: float, chosen: ResetSet, folder: Path, tick: Callable[[int, int], None]
) -> None:
    """Write the fused and reset checkpoint to `folder`, in the layout of `sft`. `tick(done, total)` counts elements.

    Raises:
        StageError: a value of either checkpoint is not finite.
    """
    folder.mkdir(parents=True)
    done, total = 0, sum(tensor.elements for tensor in sft.tensors.values())
    for file in sft.files:
        header, tensors = read_header(file)
        with (folder / file.name).open("wb") as stream:
            stream.write(header)
            for tensor in tensors.values():
                for start, stop in row_blocks(tensor.shape):
                    block = _block(sft, base, tensor, (start, stop), alpha, chosen.of_tensor(tensor.name))
                    stream.write(_bytes(block))
                    done += block.numel()
                    tick(done, total)
    _copy_companions(sft.folder, folder)


def _block(
    sft: Weights, base: Weights, tensor: Stored, span: tuple[int, int], alpha: float, region: Region | None
) -> Tensor:
    """Rows `span` of one tensor of the result."""
    ours = sft.rows(tensor, *span)
    other = base.find(tensor.name)
    if tensor.is_buffer or other is None:  # a constant of an old checkpoint, which the base may lack
        return ours
    theirs = base.rows(other, *span)
    for stored, values in ((tensor, ours), (other, theirs)):
        damage = not_finite(stored, values, span[0])
        if damage:
            raise StageError(damage)
    fused = fuse(ours, theirs, alpha)
    if region is not None and region.columns:
        reset(fused, theirs, None, region.mask)
    elif region is not None:
        reset(fused, theirs, region.mask[slice(*span)], None)
    return fused


def _bytes(block: Tensor) -> memoryview:
    return block.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _copy_companions(source: Path, folder: Path) -> None:
    """Config, generation config, tokenizer and the shards' index. The config comes last: without it nothing loads."""
    names = [file.name for file in source.iterdir() if file.is_file() and not file.name.startswith(".")]
    foreign = [name for name in names if name.endswith(".index.json") and name != INDEX]
    kept = [n for n in names if n.endswith(_COMPANIONS) and n not in (*_TRAINER, *foreign)]
    for name in sorted(kept, key=lambda name: name == "config.json"):
        shutil.copyfile(source / name, folder / name)
