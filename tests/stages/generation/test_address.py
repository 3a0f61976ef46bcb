"""Where a rollout server is: believed only if the server's own user wrote it, for this user alone."""

from __future__ import annotations

import os
import socket
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


def link(place: Path) -> None:
    place.rename(place.with_name("elsewhere"))
    place.symlink_to(place.with_name("elsewhere"))


def give_away(place: Path) -> None:
    os.chown(place, 12345, -1)


def plant_a_pipe(place: Path) -> None:
    place.unlink()
    os.mkfifo(place, 0o600)


@pytest.mark.parametrize(
    "plant",
    [
        link,
        plant_a_pipe,
        lambda place: place.chmod(0o660),
        lambda place: place.write_text("{}"),
        lambda place: place.write_bytes(b"\x80" * 10_000),
        pytest.param(give_away, marks=pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")),
    ],
)
def test_nobody_connects_to_an_address_that_others_could_have_planted(tmp_path: Path, plant: object) -> None:
    place = tmp_path / "place"
    address.write(place, HERE)
    assert callable(plant)
    plant(place)
    with pytest.raises(Lost, match="place"):
        connect(place, 1, tokens=300)


def test_the_way_to_this_machine_is_loopback() -> None:
    assert address.towards("127.0.0.1") == "127.0.0.1"
    assert address.towards(socket.gethostname())
