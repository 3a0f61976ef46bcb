"""The change of one tensor: worked examples, and blocks of rows that add up to the whole."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.diagnosis.change import Moments, SpikeMap, edge, histogram


def test_moments_of_a_tensor_that_can_be_checked_by_hand() -> None:
    moments = Moments()
    moments.add(torch.tensor([[1.0, -5.0], [0.0, 0.0]]), 0)
    moments.add(torch.tensor([[3.0, 1.0]]), 2)
    assert (moments.count, moments.mean, moments.absolute / 6) == (6, 0.0, pytest.approx(10 / 6))
    assert moments.norm == pytest.approx(6.0)  # 1 + 25 + 9 + 1 = 36
    assert moments.deviation == pytest.approx(math.sqrt(6))
    assert (moments.largest, moments.at) == (5.0, [0, 1])


def test_the_largest_change_of_a_later_block_has_the_row_of_the_tensor() -> None:
    moments = Moments()
    moments.add(torch.tensor([[1.0], [2.0]]), 0)
    moments.add(torch.tensor([[0.0], [-9.0]]), 2)
    assert (moments.largest, moments.at) == (9.0, [3, 0])


@given(st.integers(1, 9), st.floats(-1e3, 1e3), st.integers(0, 2**31))
def test_blocks_give_the_moments_of_the_whole(cut: int, offset: float, seed: int) -> None:
    values = torch.randn(10, 3, generator=torch.Generator().manual_seed(seed)) + offset
    moments = Moments()
    moments.add(values[:cut], 0)
    moments.add(values[cut:], cut)
    exact = values.double()
    assert moments.mean == pytest.approx(exact.mean().item(), rel=1e-12, abs=1e-12)
    assert moments.deviation == pytest.approx(exact.std(correction=0).item(), rel=1e-9)
    assert moments.norm == pytest.approx(exact.norm().item(), rel=1e-12)
    assert moments.absolute == pytest.approx(exact.abs().sum().item(), rel=1e-12)
    assert values[tuple(moments.at)].abs() == values.abs().max()


@pytest.mark.parametrize("bins", [1, 2, 4, 8])
def test_every_value_lies_in_its_bin(bins: int) -> None:
    draw = torch.Generator().manual_seed(bins)
    values = torch.randn(2000, generator=draw) * 10 ** (8 * torch.randn(2000, generator=draw)).clamp(-44, 37)
    values[:4] = torch.tensor([0.0, -0.0, 1.0, 2**-149])
    counts = histogram(values, bins)
    assert counts.sum() == 2000
    for number in np.flatnonzero(counts.any(axis=0)):
        inside = (values.abs() >= edge(number, bins)) & (values.abs() < edge(number + 1, bins))
        assert counts[0, number] == int((inside & (values >= 0)).sum())
        assert counts[1, number] == int((inside & (values < 0)).sum())


def test_edges_are_exact_and_there_are_as_many_a_doubling_as_asked_for() -> None:
    one = 127 * 4
    assert [edge(one + step, 4) for step in range(5)] == [1.0, 1.25, 1.5, 1.75, 2.0]
    assert edge(0, 4) == 0.0 and edge(255 * 4, 4) == math.inf


def test_a_map_has_the_largest_change_of_each_cell() -> None:
    change = torch.zeros(5, 4)
    change[0, 0], change[1, 3], change[4, 1] = -3.0, 2.0, 7.0
    spikes = SpikeMap((5, 4), 2)  # rows 0-1 and 2-4, columns 0-1 and 2-3
    spikes.add(change, 0)
    assert spikes.largest.tolist() == [[3.0, 2.0], [7.0, 0.0]]


@pytest.mark.parametrize("shape", [(5, 4), (7, 9), (2, 30), (1, 1)])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_map_does_not_depend_on_the_blocks(shape: tuple[int, int], rows: int) -> None:
    change = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    whole, blocks = SpikeMap(shape, 3), SpikeMap(shape, 3)
    whole.add(change, 0)
    for start in range(0, shape[0], rows):
        blocks.add(change[start : start + rows], start)
    assert np.array_equal(whole.largest, blocks.largest)
    assert whole.largest.shape == (min(3, shape[0]), min(3, shape[1]))
    assert whole.largest.max() == change.abs().max()
