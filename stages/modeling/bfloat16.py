"""Products of bfloat16 matrices on processors that have no instructions for them.

Without AVX-512 torch multiplies bfloat16 in plain loops, some eight times as slowly as float32. A bfloat16 product is a
float32 one of the same operands, rounded: computed so, it differs by the order of its sums, as it does between any two
processors.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_PRODUCTS = {torch.ops.aten.mm.default, torch.ops.aten.addmm.default}


def fast_products(device: torch.device) -> AbstractContextManager[object]:
    """Within it no product of bfloat16 matrices on `device` takes torch's plain loops."""
    slow = device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return ProductsInFloat32() if slow else nullcontext()


class ProductsInFloat32(TorchDispatchMode):
    """Computes `mm` and `addmm` of bfloat16 in float32, and rounds their results once."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _PRODUCTS and args[0].dtype is torch.bfloat16:
            return func(*(operand.float() for operand in args), **kwargs).bfloat16()
        return func(*args, **kwargs)
