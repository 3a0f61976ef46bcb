"""Products of bfloat16 matrices in float32: the same numbers, rounded once."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.modeling.bfloat16 import ProductsInFloat32, fast_products

#: Half a unit in the last place of bfloat16, relative.
ROUNDING = 2.0**-8


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).bfloat16()


def test_products_are_the_exact_ones_rounded_once() -> None:
    a, b, c = random(24, 40), random(40, 16), random(24, 16)
    with ProductsInFloat32():
        product, sum_ = a @ b, torch.addmm(c, a, b, beta=-4.775, alpha=2.0315)
    for found, exact in (
        (product, a.double() @ b.double()),
        (sum_, -4.775 * c.double() + 2.0315 * (a.double() @ b.double())),
    ):
        assert found.dtype is torch.bfloat16
        assert ((found.double() - exact).abs() <= 1.01 * ROUNDING * exact.abs() + 1e-5).all()


def test_other_operations_and_types_stay_as_they_are() -> None:
    a = torch.randn(8, 8)
    with ProductsInFloat32():
        assert torch.equal(a @ a, torch.mm(a, a)) and (a @ a).dtype is torch.float32
        assert (a.bfloat16() + 1).dtype is torch.bfloat16


def test_muon_takes_the_same_step_up_to_rounding() -> None:
    steps = []
    for context in (ProductsInFloat32(), torch.enable_grad()):
        matrix = torch.nn.Parameter(torch.zeros(48, 32))
        matrix.grad = random(48, 32).float()
        with context:
            torch.optim.Muon([matrix], lr=1.0, weight_decay=0.0).step()
        steps.append(matrix.detach())
    found, plain = steps
    assert (found - plain).norm() < 0.02 * plain.norm()


def test_only_a_processor_without_such_instructions_needs_it() -> None:
    needed = not torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert isinstance(fast_products(torch.device("cpu")), ProductsInFloat32) == needed
    assert not isinstance(fast_products(torch.device("cuda")), ProductsInFloat32)
