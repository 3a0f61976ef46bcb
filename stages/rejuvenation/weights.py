"""A checkpoint's safetensors files, read without a model: which tensors there are, and blocks of their rows.

Nothing here holds more than a few blocks, so that a checkpoint of any size fits a small machine.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stages.contract import StageError
from stages.rejuvenation import lanes
from stages.rejuvenation.lanes import BLOCK, Buffers

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"
NORM = "model.norm.weight"
UNEMBEDDING = "lm_head.weight"

#: dtypes that can be fused: in float32 their values are exact.
DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True)
class Stored:
    """One tensor as its file's header describes it; its values are the bytes `start` to `end` of the file."""

    name: str
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def is_buffer(self) -> bool:
        """Rotary frequencies: constants that old checkpoints store and newer ones compute, no parameters."""
        return self.name.endswith(".rotary_emb.inv_freq")

    def place(self, start: int, stop: int) -> tuple[int, int]:
        """Where rows `start` to `stop` lie in the file: first byte and number of bytes. A scalar is one row."""
        row = (self.end - self.start) // max(1, self.shape[0]) if self.shape else self.end - self.start
        return self.start + start * row, (stop - start) * row


def read_header(file: Path) -> tuple[bytes, dict[str, Stored]]:
    """The header of a safetensors file, byte for byte (with its length), and the tensors in order of their data.

    Raises:
        StageError: the file is missing, truncated or not safetensors.
    """
    try:
        with file.open("rb") as stream:
            length = stream.read(8)
            text = stream.read(int.from_bytes(length, "little"))
            size = stream.seek(0, 2)
        entries: dict[str, Any] = json.loads(text)
        first = 8 + len(text)
        tensors = [
            Stored(name, file, entry["dtype"], tuple(entry["shape"]), *(first + at for at in entry["data_offsets"]))
            for name, entry in entries.items()
            if name != "__metadata__"
        ]
    except (OSError, ValueError, OverflowError, MemoryError, AttributeError, KeyError, TypeError) as error:
        raise StageError(f"{file}: not a readable safetensors file ({error})") from None
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    expected = tensors[-1].end if tensors else first
    if size != expected:
        raise StageError(f"{file}: truncated or damaged: {size} bytes, its header describes {expected}")
    for tensor in tensors:
        if tensor.dtype in DTYPES and tensor.end - tensor.start != tensor.elements * DTYPES[tensor.dtype].itemsize:
            raise StageError(
                f"{file}: damaged: {tensor.end - tensor.start} bytes for {tensor.name}, "
                f"which has shape {list(tensor.shape)} and dtype {tensor.dtype}"
            )
    return length + text, {tensor.name: tensor for tensor in tensors}


class Weights:
    """The tensors of one checkpoint folder, whatever its shards.

    `tied`: the unembedding is the embedding. `headers`: of each file, byte for byte.
    """

    def __init__(self, folder: Path, *, tied: bool) -> None:
        self.folder = folder
        self.tied = tied
        self.files, named = _weight_files(folder)
        self.headers: dict[Path, bytes] = {}
        self.tensors: dict[str, Stored] = {}
        for file in self.files:
            self.headers[file], tensors = read_header(file)
            for name in tensors.keys() & self.tensors.keys():
                raise StageError(f"{folder}: {name} is in both {self.tensors[name].file.name} and {file.name}")
            self.tensors.update(tensors)
        absent = sorted(named - self.tensors.keys())
        if absent:
            raise StageError(f"{folder / INDEX}: names {absent[0]}, which is in none of its files ({len(absent)} such)")
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
        return read.view(DTYPES[tensor.dtype]).view(shape)


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


def _weight_files(folder: Path) -> tuple[list[Path], set[str]]:
    """The safetensors files of a folder, in the order of their names, and the tensors that its index says they have."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE], set()
    try:
        places: dict[str, str] = json.loads((folder / INDEX).read_text())["weight_map"]
        names = sorted(set(places.values()))
    except FileNotFoundError:
        raise StageError(f"{folder}: neither {SINGLE} nor {INDEX}: only safetensors checkpoints are read") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise StageError(f"{folder / INDEX}: not a readable index ({error!r})") from None
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise StageError(f"{folder}: {INDEX} names files that are missing: {', '.join(missing)}")
    return [folder / name for name in names], set(places)
