"""The way to other machines is found without sending anything."""

from __future__ import annotations

import socket

import pytest

from stages import route


def test_the_way_to_this_machine_is_one_of_its_interfaces() -> None:
    assert route.towards("127.0.0.1") == "127.0.0.1"
    assert route.interface("127.0.0.1") == "lo"
    assert route.interface(route.towards(socket.gethostname()))


def test_there_is_no_way_to_nowhere() -> None:
    with pytest.raises(OSError, match="not known|resolution|No address"):
        route.towards("nowhere.invalid")
    assert route.interface("203.0.113.1") is None
