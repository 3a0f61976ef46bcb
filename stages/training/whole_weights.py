"""A policy's parameters, whole, however they are sharded: one after the other, or as the files of a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from stages.modeling.checkpoint import DTYPES

#: Bytes of weights that are written to one file.
SHARD = 2 << 30


def parameters(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and whole values of a model's parameters, one at a time. With sharding, every rank takes all of them."""
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        yield name, value.full_tensor() if isinstance(value, DTensor) else value


def write(found: Iterator[tuple[str, Tensor]], folder: Path | None, dtype: str) -> None:
    """Write parameters in `dtype` as safetensors files of about `SHARD` bytes; without a folder only take them."""
    shard: dict[str, Tensor] = {}
    size = files = 0
    for name, value in found:
        if folder is None:
            continue
        shard[name] = value.to("cpu", DTYPES[dtype]).contiguous()
        size += shard[name].nbytes
        if size >= SHARD:
            save_file(shard, folder / f"model-{files:05d}.safetensors")
            shard, size, files = {}, 0, files + 1
    if shard and folder is not None:
        save_file(shard, folder / f"model-{files:05d}.safetensors")
