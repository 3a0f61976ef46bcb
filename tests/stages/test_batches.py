"""A global batch is made up exactly, whatever the devices."""

import pytest

from stages.batches import misfit, split
from stages.contract import StageError

SPLITS = [
    ((32, 8, 2), (8, 2)),
    ((32, 64, 1), (32, 1)),
    ((1024, 8, 8), (8, 16)),
    ((1024, 8, 1), (8, 128)),
    ((96, 20, 1), (16, 6)),
    ((7, 4, 1), (1, 7)),
    ((30, 10, 3), (10, 1)),
]


@pytest.mark.parametrize(("given", "expected"), SPLITS)
def test_a_batch_is_split_into_equal_micro_batches(given: tuple[int, int, int], expected: tuple[int, int]) -> None:
    batch, per_device, world = given
    micro, accumulation = split("batch", batch, per_device, world)
    assert (micro, accumulation) == expected
    assert micro * accumulation * world == batch


def test_an_impossible_split_names_the_possible_ones() -> None:
    with pytest.raises(StageError, match="batch=12: .* 8 devices; possible .*: 1, 2, 3, 4, 6, 12"):
        split("batch", 12, 4, 8)


def test_what_can_be_split_has_nothing_wrong() -> None:
    assert misfit("batch", 12, 6) is None
    assert misfit("batch", 12, 5) == (
        "batch=12: cannot be shared out equally over 5 devices; possible numbers of devices: 1, 2, 3, 4, 6, 12"
    )
