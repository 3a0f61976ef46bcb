"""Where a rollout server is: believed only if the server's own user wrote it, for this user alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stages.contract import Lost
from stages.generation import address
from stages.generation.address import Address
from stages.generation.served import connect

HERE = Address(host="node1", ip="127.0.0.1", port=4000, key=bytes(range(32)), positions=64, capacity=4)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    place = tmp_path / "place"
    address.write(place, HERE)
    assert address.read(place) == HERE
    assert place.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["place"]


@pytest.mark.parametrize(
    "plant",
    [
        lambda place: place.chmod(0o660),
        lambda place: place.write_text("{}"),
        lambda place: place.write_bytes(b"\x80" * 10_000),
        lambda place: place.write_text("[" * 4000),
        lambda place: place.write_text('{"host": "h", "ip": 1}'),
    ],
    ids=["for the group", "empty", "no text", "nested", "other types"],
)
def test_nobody_connects_to_what_is_no_address_of_this_user(tmp_path: Path, plant: Callable[[Path], object]) -> None:
    place = tmp_path / "place"
    address.write(place, HERE)
    plant(place)
    with pytest.raises(Lost, match="place"):
        connect(place, 1, tokens=300)
