"""Which rows the gradients of targets live on, and how samples are cut into passes."""

from __future__ import annotations

from stages.rejuvenation.packing import Packing, Passage, passes


def passage(*positions: int) -> Passage:
    return Passage([9] * (positions[-1] + 2), list(positions), [9] * len(positions))


def test_a_target_has_the_rows_of_the_positions_up_to_it() -> None:
    packing = Packing.of([passage(0, 2), passage(1)])  # tokens 0 1 2 of the first sample, 3 4 of the second
    assert packing.lengths == [3, 2] and packing.spans == [slice(0, 3), slice(3, 5)]
    assert packing.token_R.tolist() == [0, 0, 1, 2, 3, 4]
    assert packing.starts == [0, 1, 4] and packing.last_N.tolist() == [0, 3, 5]
    assert packing.at_N.tolist() == [0, 2, 4]


def test_passes_keep_the_order_and_the_limits() -> None:
    samples = [passage(0, 2), passage(1), passage(3), passage(0, 1, 2)]
    found = [[(number, part.positions) for number, part in batch] for batch in passes(samples, rows=6, targets=3)]
    assert found == [[(0, [0, 2]), (1, [1])], [(2, [3]), (3, [0])], [(3, [1, 2])]]


def test_one_target_always_is_a_pass() -> None:
    found = list(passes([passage(1, 7)], rows=1, targets=5))
    assert [[part.positions for _, part in batch] for batch in found] == [[[1]], [[7]]]


def test_a_sample_without_a_target_is_in_no_pass() -> None:
    empty = Passage([5], [], [])
    assert list(passes([empty, passage(1), empty], rows=9, targets=9)) == [[(1, passage(1))]]
