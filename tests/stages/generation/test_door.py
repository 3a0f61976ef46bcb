"""Those who know the key come in, however many there are who do not."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from stages.generation import door, wire
from stages.generation.door import Door
from stages.generation.wire import Reload, Wire

KEY = bytes(range(32))


@pytest.fixture
def arrived() -> deque[Wire]:
    return deque()


@pytest.fixture
def where(arrived: deque[Wire]) -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0), backlog=door.BACKLOG) as listener:
        Door(listener, KEY, arrived).open()
        yield listener.getsockname()


def test_a_thousand_silent_peers_keep_nobody_waiting(
    where: tuple[str, int], arrived: deque[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "GREETED", 16)
    monkeypatch.setattr(door, "LEAST", 0.01)
    inside, most = [], []

    def counting(peer: socket.socket, key: bytes) -> Wire:
        inside.append(peer)
        most.append(len(inside))
        try:
            return answer(peer, key)
        finally:
            inside.remove(peer)

    answer = wire.answer
    monkeypatch.setattr(wire, "answer", counting)
    with socket.create_server(("127.0.0.1", 0), backlog=door.BACKLOG) as listener, ExitStack() as silent:
        Door(listener, KEY, arrived).open()
        peers = [silent.enter_context(socket.create_connection(listener.getsockname())) for _ in range(1000)]
        line = wire.call(*listener.getsockname(), KEY)
        while not arrived:
            time.sleep(0.001)
        line.send(Reload("/here"))
        assert arrived[0].receive() == Reload("/here")
        assert max(most) <= 16
        poll = select.poll()
        for peer in peers:
            poll.register(peer, select.POLLIN)  # readable: it was hung up
        assert len(poll.poll(0)) >= 1000 - 16


def test_who_hangs_up_or_guesses_leaves_nothing_behind(where: tuple[str, int], arrived: deque[Wire]) -> None:
    for said in (b"", b"x", b"x" * 64, b"x" * 5000):
        with socket.create_connection(where) as peer:
            peer.sendall(said)
    with pytest.raises(OSError, match="it does not know the key"):
        wire.call(*where, b"guessed")
    line = wire.call(*where, KEY)
    while not arrived:
        time.sleep(0.001)
    assert len(arrived) == 1
    line.close()
    while any(thread.name.endswith("(_greet)") for thread in threading.enumerate()):
        time.sleep(0.001)
