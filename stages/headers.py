"""The header of a safetensors file: which tensors it has, and where their bytes lie. No value is read.

A file is eight bytes with the length of the header (little-endian), the header as JSON, and then the tensors one after
the other, without a gap (the format's own specification).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.contract import StageError

#: Bytes of an element of each dtype that a header may name and that is a whole number of bytes.
BYTES = {
    **{"F64": 8, "I64": 8, "U64": 8, "C64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2},
    **{"F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1},
}

#: Ends of the names of constants: rotary frequencies, and what a mask of GPT-2 was filled with.
CONSTANTS = ("rotary_emb.inv_freq", ".masked_bias")

#: The first words of what git has in place of a large file until `git lfs pull` has brought it.
_POINTER = b"version https://git-lfs.github.com/spec/"

#: No header that the format allows is longer.
_LONGEST = 100_000_000


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
        """A constant that old checkpoints store and newer ones compute: rotary frequencies, causal masks."""
        mask = len(self.shape) == 4 and self.name.endswith(("attn.bias", "attention.bias"))
        return mask or self.name.endswith(CONSTANTS)

    def place(self, start: int, stop: int) -> tuple[int, int]:
        """Where rows `start` to `stop` lie in the file: first byte and number of bytes. A scalar is one row."""
        row = (self.end - self.start) // max(1, self.shape[0]) if self.shape else self.end - self.start
        return self.start + start * row, (stop - start) * row


def read(file: Path) -> tuple[bytes, dict[str, Stored]]:
    """The header of a safetensors file, byte for byte (with its length), and the tensors in order of their data.

    Raises:
        StageError: the file is missing, empty, a pointer of Git LFS, shorter or longer than its header says, or not
            safetensors.
    """
    try:
        length, text, size = _head(file)
        entries: dict[str, Any] = parse(text)
        first = 8 + len(text)
        tensors = [
            Stored(name, file, entry["dtype"], tuple(entry["shape"]), *(first + at for at in entry["data_offsets"]))
            for name, entry in entries.items()
            if name != "__metadata__"
        ]
        tensors.sort(key=lambda tensor: (tensor.start, tensor.end))
        _check(file, tensors, first, size)
    except (OSError, ValueError, OverflowError, MemoryError, AttributeError, KeyError, TypeError) as error:
        raise StageError(f"{file}: not a readable safetensors file ({error or type(error).__name__})") from None
    return length + text, {tensor.name: tensor for tensor in tensors}


def parse(text: str | bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: it is none, or an object in it gives one name two different values.
    """
    return json.loads(text, object_pairs_hook=_object)


def is_pointer(file: Path) -> bool:
    """Whether a file is what a clone without git-lfs leaves in its place."""
    try:
        with file.open("rb") as stream:
            return stream.read(len(_POINTER)) == _POINTER
    except OSError:  # whoever reads it says so
        return False


def refuse_pointer(file: Path) -> None:
    """Refuse a file that is a pointer of Git LFS.

    Raises:
        StageError: it is.
    """
    if is_pointer(file):
        raise StageError(f"{file}: a Git LFS pointer, not the file itself; run `git lfs pull` in {file.parent}")


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise ValueError(f"it names {name} twice, with two values")
        found[name] = value
    return found


def _head(file: Path) -> tuple[bytes, bytes, int]:
    """The length of the header as it is written, the header, and the size of the file."""
    refuse_pointer(file)
    size = file.stat().st_size
    if size == 0:
        raise StageError(f"{file}: the file is empty")
    with file.open("rb") as stream:
        length = stream.read(8)
        expected = int.from_bytes(length, "little")
        if expected > _LONGEST:
            raise ValueError(f"its header would have {expected} bytes; at most {_LONGEST} are allowed")
        text = stream.read(expected)
    if len(length) < 8 or len(text) < expected:
        raise ValueError(f"{size} bytes, less than its header has")
    return length, text, size


def _check(file: Path, tensors: list[Stored], first: int, size: int) -> None:
    """Refuse a header that its file, or its own shapes, contradict."""
    expected = tensors[-1].end if tensors else first
    if size != expected:
        raise StageError(f"{file}: truncated or damaged: {size} bytes, its header describes {expected}")
    for tensor in tensors:
        if tensor.start != first:
            raise StageError(f"{file}: damaged: {tensor.name} begins at byte {tensor.start}; expected {first}")
        first = tensor.end
        if tensor.dtype in BYTES and tensor.end - tensor.start != tensor.elements * BYTES[tensor.dtype]:
            raise StageError(
                f"{file}: damaged: {tensor.end - tensor.start} bytes for {tensor.name}, "
                f"which has shape {list(tensor.shape)} and dtype {tensor.dtype}"
            )
