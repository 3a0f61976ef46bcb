"""The processes of one training, which decide together: a rank that went its own way would leave the others waiting.

Each function is called by every rank at the same point, and with one rank does the obvious thing. The processes find
each other when the trainer's settings are made; before that, nothing here may be called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from accelerate.utils import broadcast_object_list, gather_object  # type: ignore[import-untyped]

T = TypeVar("T")


def first(decide: Callable[[], T]) -> T:
    """What rank 0 decides, for all; an exception of its, too. The others wait for it."""
    decided: T | None = None
    error: Exception | None = None
    if PartialState().is_main_process:
        try:
            decided = decide()
        except Exception as raised:  # whatever it is: the others would wait for half an hour
            error = raised
    decided, error = broadcast_object_list([decided, error])
    if error is not None:
        raise error
    return decided  # type: ignore[return-value]


def anywhere(*flags: bool) -> list[bool]:
    """Which of the flags are set on any rank: one reduction of a few bytes."""
    state = PartialState()
    if state.num_processes == 1:
        return list(flags)
    found = torch.tensor(flags, dtype=torch.int32, device=state.device)
    torch.distributed.all_reduce(found, op=torch.distributed.ReduceOp.MAX)
    return [bool(each) for each in found.tolist()]


def gathered(part: Sequence[T]) -> list[T]:
    """The parts of all ranks, one behind the other, in the order of the ranks."""
    return list(gather_object(list(part)))


def share(items: Sequence[T]) -> Sequence[T]:
    """This rank's part of `items`: contiguous, so that `gathered` puts them back in order."""
    state = PartialState()
    bounds = [len(items) * rank // state.num_processes for rank in (state.process_index, state.process_index + 1)]
    return items[bounds[0] : bounds[1]]


def wait() -> None:
    """Until every rank is here."""
    PartialState().wait_for_everyone()
