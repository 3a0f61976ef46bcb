"""Threads that read, compute and write blocks of tensors at the same time, each in buffers of its own."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

#: Elements of a tensor that a thread works on at once: what it touches, 3 MiB at most, stays in the processor's cache.
BLOCK = 2**18

#: Threads that are used at least: while one waits for the disk, another computes.
LEAST = 2

#: Bytes of an element of the largest dtype that is read.
_WIDEST = 4

Item = TypeVar("Item")
Result = TypeVar("Result")


class Buffers:
    """What one thread works in: the bytes of one block of two checkpoints, and two blocks in float32."""

    def __init__(self, elements: int) -> None:
        self.ours = torch.empty(_WIDEST * elements, dtype=torch.uint8)
        self.theirs = torch.empty_like(self.ours)
        self._floats = torch.empty(2, elements)

    def floats(self, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Two float32 tensors of this shape, with any values."""
        first, second = self._floats[:, : math.prod(shape)].view(2, *shape)
        return first, second


def run(
    work: Callable[[Buffers, Item], Result], items: Iterable[Item], *, elements: int = BLOCK, threads: int = LEAST
) -> Generator[Result, None, None]:
    """The results of `work` in the order of `items`; the first error stops what has not begun.

    `elements` is the size of the largest block that a thread has to hold.
    """
    own = threading.local()
    before = torch.get_num_threads()

    def begin() -> None:
        torch.set_num_threads(1)  # of this thread: it is the unit of parallelism here
        own.buffers = Buffers(elements)

    try:
        with ThreadPoolExecutor(threads, initializer=begin) as pool:
            yield from pool.map(lambda item: work(own.buffers, item), items)
    finally:
        torch.set_num_threads(before)  # of threads that start later
