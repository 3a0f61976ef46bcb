"""Who may talk on the wire of a rollout server, and what is said there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from stages.generation import wire
from stages.generation.engine import Completion, Sampling
from stages.generation.wire import Alive, Ask, Finished, Forget, Message, Refused, Reload, Wire

KEY = b"k" * 32
SAMPLING = Sampling(n=2, temperature=0.6, top_p=1.0, max_new_tokens=6, stop=("Q:",), seed=None, logprobs=True)
MESSAGES: list[Message] = [
    Ask(3, [5, 6, 7], SAMPLING),
    Reload("/dev/shm/weights"),
    Forget(),
    Finished(3, [Completion([5], "é \N{GRINNING FACE}", True, [-0.1, float("-inf")]), Completion([], "", False)]),
    Alive(),
    Refused("no"),
]


@pytest.fixture
def peers() -> Iterator[Callable[[Callable[[socket.socket], None]], tuple[str, int]]]:
    """Starts a server that does with its first client what it is told to; returns where it is."""
    listener = socket.create_server(("127.0.0.1", 0))

    def start(act: Callable[[socket.socket], None]) -> tuple[str, int]:
        def serve() -> None:
            with suppress(OSError):
                act(listener.accept()[0])

        threading.Thread(target=serve, daemon=True).start()
        where: tuple[str, int] = listener.getsockname()
        return where

    yield start
    listener.close()


def test_every_message_arrives_as_it_was(peers: Callable[..., tuple[str, int]]) -> None:
    def echo(peer: socket.socket) -> None:
        other = wire.answer(peer, KEY)
        for _ in MESSAGES:
            other.send(other.receive())

    mine = wire.call(*peers(echo), KEY)
    for message in MESSAGES:
        mine.send(message)
        assert mine.receive() == message
    mine.close()


def hang_up(peer: socket.socket) -> None:
    peer.close()


def say_nothing(peer: socket.socket) -> None:
    kept.append(peer)


def be_slow(peer: socket.socket) -> None:
    kept.append(peer)
    peer.sendall(b"\x00\x00")  # of the four bytes that a message begins with


def lie(peer: socket.socket) -> None:
    kept.append(peer)
    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def guess(peer: socket.socket) -> None:
    wire.answer(peer, b"another")


kept: list[socket.socket] = []


@pytest.mark.parametrize("act", [hang_up, say_nothing, be_slow, lie, guess])
def test_a_peer_that_does_not_know_the_key_is_given_up(
    peers: Callable[..., tuple[str, int]], act: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HANDSHAKE", 0.2)
    with pytest.raises(OSError, match="no handshake within"):
        wire.call(*peers(act), KEY)


def test_what_is_no_message_is_an_error_of_the_line(peers: Callable[..., tuple[str, int]]) -> None:
    others: list[Wire] = []
    mine = wire.call(*peers(lambda peer: others.append(wire.answer(peer, KEY))), KEY)
    while not others:
        time.sleep(0.001)
    for nonsense in (b"", b"\x93\x01\x02\x03", b"\x81\xa4type\xa3Ask"):
        others[0]._connection.send_bytes(nonsense)
        with pytest.raises(OSError, match="no message"):
            mine.receive()
