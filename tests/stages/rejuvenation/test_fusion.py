"""Fusion and reset of single tensors."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.rejuvenation import fusion
from tests.stages.rejuvenation.reference import bare_formula


@given(st.floats(0, 1), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]), st.integers(0, 99))
def test_fusion_is_three_rounded_operations_and_one_cast(alpha: float, dtype: torch.dtype, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    sft, base = torch.randn(33, generator=draw).to(dtype), torch.randn(33, generator=draw)
    fused = fusion.fuse(sft, base, alpha)
    assert fused.dtype == dtype
    assert torch.equal(fused, bare_formula(sft, base, alpha))


def test_ends_are_copies_whatever_the_value() -> None:
    sft, base = torch.tensor([-0.0, 1e-45]), torch.tensor([0.0, 3e38])
    assert fusion.fuse(sft, base, 1.0).view(torch.int32).tolist() == sft.view(torch.int32).tolist()
    assert fusion.fuse(sft, base, 0.0).view(torch.int32).tolist() == base.view(torch.int32).tolist()


def test_a_row_and_a_column_are_reset() -> None:
    base = torch.zeros(2, 2)
    rows = torch.ones(2, 2)
    fusion.reset(rows, base, torch.tensor([False, True]), None)
    assert rows.tolist() == [[1, 1], [0, 0]]
    columns = torch.ones(2, 2)
    fusion.reset(columns, base, None, torch.tensor([False, True]))
    assert columns.tolist() == [[1, 0], [1, 0]]
