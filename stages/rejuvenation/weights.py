"""A checkpoint's safetensors files, read without a model: which tensors there are, and blocks of their rows.

Nothing here holds more than a few blocks, so that a checkpoint of any size fits a small machine.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from stages import weight_files
from stages.contract import StageError
from stages.headers import Stored
from stages.rejuvenation import lanes
from stages.rejuvenation.lanes import BLOCK, Buffers

EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.weight"
UNEMBEDDING = "lm_head.weight"

#: dtypes that can be fused: in float32 their values are exact.
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}

#: dtypes of constants, which are copied: causal masks.
_COPIED = {"U8": torch.uint8, "BOOL": torch.bool}


class Weights:
    """The tensors of one checkpoint folder, whatever its shards.

    `tied`: the unembedding is the embedding. `headers`: of each file, byte for byte. `index`: the file that names the
    shards; None for one file that needs none.
    """

    def __init__(self, folder: Path, *, tied: bool) -> None:
        found = weight_files.find(folder)
        self.folder = folder
        self.tied = tied
        self.files, self.index = found.files, found.index
        self.headers, self.tensors = found.headers, found.tensors
        self._streams = {file: file.open("rb", buffering=0) for file in self.files}

    def find(self, name: str) -> Stored | None:
        """The tensor that plays the role of `name`: itself, or the embedding for a tied unembedding."""
        if name not in self.tensors and name == UNEMBEDDING and self.tied:
            name = EMBEDDING
        return self.tensors.get(name)

    @property
    def parameters(self) -> dict[str, Stored]:
        """The tensors that are parameters, each once: no buffers, and no second copy of a tied embedding."""
        double = {UNEMBEDDING} if self.tied and EMBEDDING in self.tensors else set()
        return {name: t for name, t in self.tensors.items() if not t.is_buffer and name not in double}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def rows(self, tensor: Stored, start: int, stop: int, buffer: Tensor | None = None) -> Tensor:
        """Rows `start` to `stop` of a tensor, read from its file: into `buffer` (bytes, enough of them), or a new one.

        Any number of threads may read at once.
        """
        first, size = tensor.place(start, stop)
        read = torch.empty(size, dtype=torch.uint8) if buffer is None else buffer[:size]
        _fill(self._streams[tensor.file].fileno(), read.numpy().data, first, tensor)
        shape = (stop - start, *tensor.shape[1:]) if tensor.shape else ()
        return read.view({**DTYPES, **_COPIED}[tensor.dtype]).view(shape)


def readable(tensor: Stored) -> bool:
    """Whether a tensor has a dtype that can be fused, or, being a constant, copied."""
    return tensor.dtype in DTYPES or (tensor.is_buffer and tensor.dtype in _COPIED)


def row_blocks(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Cut the rows of a tensor into blocks of at most `BLOCK` elements (one row at least)."""
    rows, width = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    step = max(1, BLOCK // max(1, width))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def largest_block(tensors: Iterable[Stored]) -> int:
    """Elements of the largest block that `row_blocks` makes of these tensors: `BLOCK`, or the widest row."""
    return max([BLOCK, *(math.prod(tensor.shape[1:]) for tensor in tensors)])


def refuse_not_finite(*checkpoints: Weights) -> None:
    """Read everything once and name each tensor that holds a NaN or an infinity, with the first such index."""

    def damage(weights: Weights, buffers: Buffers, tensor: Stored) -> str | None:
        blocks = (
            not_finite(tensor, weights.rows(tensor, *span, buffers.ours), span[0]) for span in row_blocks(tensor.shape)
        )
        return next(filter(None, blocks), None)

    found: list[str | None] = []
    for weights in checkpoints:
        tensors = weights.tensors.values()
        found += lanes.run(partial(damage, weights), tensors, elements=largest_block(tensors))
    if any(found):
        raise StageError("\n".join(filter(None, found)))


def not_finite(tensor: Stored, block: Tensor, start: int) -> str | None:
    """`FILE: NAME[row, column] is nan` for the first such value of a block whose rows begin at `start`.

    A NaN or an infinity makes the sum one, so the values are looked at one by one only where the sum says so.
    """
    if math.isfinite(block.sum(dtype=torch.float32)):
        return None
    finite = torch.isfinite(block)
    if finite.all():  # their sum overflows
        return None
    index = (~finite).nonzero()[0].tolist()
    place = [start + index[0], *index[1:]] if index else ""
    return f"{tensor.file}: {tensor.name}{place} is {block[tuple(index)].item()}"


def _fill(descriptor: int, buffer: memoryview, first: int, tensor: Stored) -> None:
    """Fill `buffer` with the bytes of a file that begin at `first`: one call may read less than was asked for."""
    done = 0
    while done < len(buffer):
        read = os.preadv(descriptor, [buffer[done:]], first + done)
        if read == 0:
            raise StageError(f"{tensor.file}: became shorter while {tensor.name} was read")
        done += read
