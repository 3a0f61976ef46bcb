"""A checkpoint's safetensors files, read without a model: which tensors there are, and blocks of their rows.

Nothing here holds more than one block, so that a checkpoint of any size fits a small machine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from stages.contract import StageError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
EMBEDDING = "model.embed_tokens.weight"
UNEMBEDDING = "lm_head.weight"

#: Elements of a tensor that are in memory at once: 32 MiB in float32.
BLOCK = 2**23

#: dtypes that can be fused: in float32 their values are exact.
DTYPES = ("F32", "BF16", "F16")


@dataclass(frozen=True)
class Stored:
    """One tensor as its file's header describes it; `start` and `end` are bytes of the file's data section."""

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
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise StageError(f"{file}: not a readable safetensors file ({error})") from None
    entries.pop("__metadata__", None)
    tensors = [
        Stored(name, file, entry["dtype"], tuple(entry["shape"]), *entry["data_offsets"])
        for name, entry in entries.items()
    ]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
    expected = 8 + len(text) + (tensors[-1].end if tensors else 0)
    if size != expected:
        raise StageError(f"{file}: truncated or damaged: {size} bytes, its header describes {expected}")
    return length + text, {tensor.name: tensor for tensor in tensors}


class Weights:
    """The tensors of one checkpoint folder, whatever its shards. `tied`: the unembedding is the embedding."""

    def __init__(self, folder: Path, *, tied: bool) -> None:
        self.folder = folder
        self.tied = tied
        self.files = _weight_files(folder)
        self.tensors: dict[str, Stored] = {}
        for file in self.files:
            self.tensors.update(read_header(file)[1])

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

    def rows(self, tensor: Stored, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop` of a tensor, mapped from its file: not to be written to."""
        if not tensor.shape:
            return self._handles[tensor.file].get_tensor(tensor.name)
        return self._handles[tensor.file].get_slice(tensor.name)[start:stop]

    @cached_property
    def _handles(self) -> dict[Path, Any]:
        return {file: safe_open(file, framework="pt") for file in self.files}


def row_blocks(shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Cut the rows of a tensor into blocks of at most `BLOCK` elements (one row at least)."""
    rows, width = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    step = max(1, BLOCK // max(1, width))
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


def refuse_not_finite(*checkpoints: Weights) -> None:
    """Read everything once and name each tensor that holds a NaN or an infinity, with the first such index."""
    found = []
    for weights in checkpoints:
        for tensor in weights.tensors.values():
            for start, stop in row_blocks(tensor.shape):
                damage = not_finite(tensor, weights.rows(tensor, start, stop), start)
                if damage:
                    found.append(damage)
                    break
    if found:
        raise StageError("\n".join(found))


def not_finite(tensor: Stored, block: torch.Tensor, start: int) -> str | None:
    """`FILE: NAME[row, column] is nan` for the first such value of a block whose rows begin at `start`."""
    finite = torch.isfinite(block)
    if finite.all():
        return None
    index = (~finite).nonzero()[0].tolist()
    place = [start + index[0], *index[1:]] if index else []
    return f"{tensor.file}: {tensor.name}{place} is {block[tuple(index)].item()}"


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, in the order of their names."""
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    try:
        index = json.loads((folder / INDEX).read_text())
        names = sorted(set(index["weight_map"].values()))
    except FileNotFoundError:
        raise StageError(f"{folder}: neither {SINGLE} nor {INDEX}: only safetensors checkpoints are read") from None
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise StageError(f"{folder / INDEX}: not a readable index ({error!r})") from None
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise StageError(f"{folder}: {INDEX} names files that are missing: {', '.join(missing)}")
    return [folder / name for name in names]
