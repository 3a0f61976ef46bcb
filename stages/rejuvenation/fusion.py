"""Fusion and reset of two checkpoints (equations 1 and 5), streamed over their files: a few blocks of rows in memory.

The result has the layout of the checkpoint (`layout`), and its files are filled block by block by a few threads.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from stages.contract import StageError
from stages.headers import Stored
from stages.rejuvenation import lanes, layout
from stages.rejuvenation.lanes import Buffers
from stages.rejuvenation.merging import Merge
from stages.rejuvenation.reset_set import Region, ResetSet
from stages.rejuvenation.weights import Weights, largest_block, not_finite, refuse_not_finite, row_blocks

#: Blocks that a thread takes at a time: 8 MiB of bfloat16.
_BATCH = 16


@dataclass(frozen=True)
class Recipe:
    """What becomes of two checkpoints: fused at `alpha`, but the `chosen` neurons at `reset_alpha`, which is 0 in the
    paper: the base (equation 5). `merge` is how they are fused, if not linearly."""

    alpha: float
    chosen: ResetSet
    reset_alpha: float = 0.0
    merge: Merge | None = None


@dataclass(frozen=True)
class _Part:
    """One tensor of the result: of the checkpoint, of the base (None for a constant that is only copied), and what of
    it is reset."""

    ours: Stored
    theirs: Stored | None
    region: Region | None


#: A part, and the first row and the end of those that are worked on at once.
_Block: TypeAlias = tuple[_Part, int, int]


class _Damaged(Exception):
    """A value that is not finite, said as `not_finite` does."""


def fuse(sft: Tensor, base: Tensor, alpha: float, scratch: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """alpha * sft + (1 - alpha) * base in float32 (equation 1), still to be rounded to the dtype of the checkpoint.

    Three float32 operations, each rounded: no fused multiply-add and no lerp, so that the result is the same on every
    device. At alpha 1 and 0 the values are those of one side, -0.0 included. `scratch`: two float32 tensors of the
    shape, overwritten; the result is one of them.
    """
    kept, pulled = scratch or (torch.empty(sft.shape), torch.empty(sft.shape))
    kept.copy_(sft)
    pulled.copy_(base)
    if alpha == 1:
        return kept
    if alpha == 0:
        return pulled
    return kept.mul_(alpha).add_(pulled.mul_(1 - alpha))


def write(
    sft: Weights,
    base: Weights,
    recipe: Recipe,
    folder: Path,
    tick: Callable[[int, int], None],
    threads: int = lanes.LEAST,
) -> None:
    """Write the fused and reset checkpoint to `folder`, in the layout of `sft`. `tick(done, total)` counts elements.

    If it fails, the folder is removed.

    Raises:
        StageError: values of a checkpoint are not finite, or too large for the dtype of `sft`; it names all such
            tensors.
    """
    batches = list(_batches(_parts(sft, base, recipe.chosen), whole=recipe.merge is not None))
    if recipe.merge is None:
        elements, threads = largest_block(sft.tensors.values()), max(lanes.LEAST, threads)
    else:  # it needs memory for a whole tensor, and draws from torch's one generator
        elements, threads = max(tensor.elements for tensor in sft.tensors.values()), 1
    done, total = 0, sum(tensor.elements for tensor in sft.tensors.values())
    folder.mkdir(parents=True)
    try:
        with layout.created(sft, folder) as descriptors:
            work = _Work(sft, base, recipe, descriptors)
            with closing(lanes.run(work, batches, elements=elements, threads=threads)) as counts:
                for count in counts:
                    done += count
                    tick(done, total)
        layout.copy_companions(sft, folder)
    except BaseException as error:
        shutil.rmtree(folder)
        if isinstance(error, _Damaged):
            refuse_not_finite(base, sft)  # it names all that are damaged
            raise StageError(str(error)) from None
        raise


@dataclass(frozen=True)
class _Work:
    """What the threads share: the two checkpoints, the recipe, and where each file of the first is written."""

    sft: Weights
    base: Weights
    recipe: Recipe
    descriptors: Mapping[Path, int]

    def __call__(self, buffers: Buffers, blocks: list[_Block]) -> int:
        """Write these blocks; returns how many elements that were."""
        count = 0
        for part, start, stop in blocks:
            block = self._result(buffers, part, start, stop)
            layout.write(self.descriptors[part.ours.file], _bytes(block), part.ours.place(start, stop)[0])
            count += block.numel()
        return count

    def _result(self, buffers: Buffers, part: _Part, start: int, stop: int) -> Tensor:
        """Rows `start` to `stop` of one tensor of the result, in the buffer into which the checkpoint's were read."""
        ours = self.sft.rows(part.ours, start, stop, buffers.ours)
        if part.theirs is None:
            _refuse(not_finite(part.ours, ours, start))
            return ours
        theirs = self.base.rows(part.theirs, start, stop, buffers.theirs)
        if self.recipe.merge is not None:
            _refuse(not_finite(part.theirs, theirs, start) or not_finite(part.ours, ours, start))
            fused = self.recipe.merge(part.ours.name, ours, theirs)
        else:
            scratch = buffers.floats(ours.shape)
            fused = fuse(ours, theirs, self.recipe.alpha, scratch)
            sums = [fused.sum()] if 0 < self.recipe.alpha < 1 else [each.sum() for each in scratch]
            if not all(map(math.isfinite, sums)):  # whatever is not finite on a side is not in the sum
                _refuse(not_finite(part.theirs, theirs, start) or not_finite(part.ours, ours, start))
        if part.region is not None:
            at = part.region.within(start, stop)
            was_reset = fuse(ours[at], theirs[at], self.recipe.reset_alpha)
            ours.copy_(fused)
            ours[at] = was_reset.to(ours.dtype)
        else:
            ours.copy_(fused)
        if part.theirs.dtype != part.ours.dtype or self.recipe.merge is not None:
            _refuse(not_finite(part.ours, ours, start), f" when written: too large for {part.ours.dtype}")
        return ours


def _parts(sft: Weights, base: Weights, chosen: ResetSet) -> Iterator[_Part]:
    """All tensors of the result, in the order in which they lie in the files."""
    for name, ours in sft.tensors.items():
        theirs = None if ours.is_buffer else base.find(name)
        yield _Part(ours, theirs, chosen.of_tensor(name))


def _batches(parts: Iterable[_Part], *, whole: bool) -> Iterator[list[_Block]]:
    """All blocks of all parts, or `whole` parts, a few at a time.

    From each file in turn, since threads that write to one file wait for each other.
    """
    by_file: dict[Path, list[_Block]] = {}
    for part in parts:
        blocks = by_file.setdefault(part.ours.file, [])
        spans = [(0, (*part.ours.shape, 1)[0])] if whole else row_blocks(part.ours.shape)
        blocks += [(part, start, stop) for start, stop in spans]
    for at in range(0, max(map(len, by_file.values()), default=0), _BATCH):
        yield from (batch for blocks in by_file.values() if (batch := blocks[at : at + _BATCH]))


def _refuse(damage: str | None, more: str = "") -> None:
    if damage:
        raise _Damaged(damage + more)


def _bytes(block: Tensor) -> memoryview:
    return block.reshape(-1).view(torch.uint8).numpy().data
