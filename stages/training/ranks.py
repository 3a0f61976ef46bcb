"""The processes of one training, which decide together: a rank that went its own way would leave the others waiting.

Each function is called by every rank at the same point, and with one rank does the obvious thing. The processes find
each other with `join`; before that, nothing else here may be called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState  # type: ignore[import-untyped]
from accelerate.utils import broadcast_object_list, gather_object  # type: ignore[import-untyped]
from torch._C._distributed_c10d import TCPStore

from stages.contract import Context
from stages.modeling.checkpoint import device

T = TypeVar("T")


def join(context: Context) -> None:
    """Make the process group of all ranks, at the port that rank 0 holds already; nothing for a rank without others.

    A rank that does not come, or leaves the others waiting, is an error after `patience` (at most twice that).
    """
    alone = context.world == 1 and context.listener is None
    if alone or torch.distributed.is_initialized():
        return
    on_accelerator = device().type == "cuda"
    if on_accelerator:
        torch.cuda.set_device(context.local_rank)
    timeout = timedelta(seconds=2 * context.resources.patience)
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(host, port, context.world, context.rank == 0, timeout=timeout, master_listen_fd=context.listener)
    backend = "cpu:gloo,cuda:nccl" if on_accelerator else "gloo"
    torch.distributed.init_process_group(
        backend, store=store, rank=context.rank, world_size=context.world, timeout=timeout
    )


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
