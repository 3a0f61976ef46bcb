"""Who may talk on the wire of a rollout server, and what is said there."""

from __future__ import annotations

import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import msgspec
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


def test_every_message_arrives_as_it_was() -> None:
    mine, other = joined()
    for message in MESSAGES:
        one, another = (mine, other) if isinstance(message, Ask | Reload | Forget) else (other, mine)
        one.send(message)
        assert another.receive() == message


def hang_up(peer: socket.socket) -> None:
    peer.close()


def hang_up_in_the_middle(peer: socket.socket) -> None:
    peer.sendall(peer.recv(32)[:7])
    peer.close()


def say_nothing(peer: socket.socket) -> None:
    kept.append(peer)


def be_slow(peer: socket.socket) -> None:
    kept.append(peer)
    while True:
        peer.sendall(b"\0")
        time.sleep(0.02)


def lie(peer: socket.socket) -> None:
    kept.append(peer)
    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"." * 64)


def reflect(peer: socket.socket) -> None:
    kept.append(peer)
    peer.sendall(3 * peer.recv(32))


def guess(peer: socket.socket) -> None:
    wire.answer(peer, b"another")


kept: list[socket.socket] = []


@pytest.mark.parametrize("act", [hang_up, hang_up_in_the_middle, say_nothing, be_slow, lie, reflect, guess])
def test_a_server_that_does_not_know_the_key_is_given_up(
    peers: Callable[..., tuple[str, int]], act: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HANDSHAKE", 0.3)
    with pytest.raises(OSError, match="no handshake within"):
        wire.call(*peers(act), KEY)


def answered(peer: socket.socket) -> list[Wire | OSError]:
    """What becomes of a peer of a server, as soon as it is known."""
    found: list[Wire | OSError] = []

    def serve() -> None:
        try:
            found.append(wire.answer(peer, KEY))
        except OSError as error:
            found.append(error)

    threading.Thread(target=serve, daemon=True).start()
    return found


def outcome(found: list[Wire | OSError]) -> Wire | OSError:
    while not found:
        time.sleep(0.001)
    return found[0]


def test_proofs_cannot_be_replayed_or_reflected_or_made_without_the_key() -> None:
    mine, its = socket.socketpair()
    first = answered(its)
    mine.sendall(b"n" * 32)
    theirs = mine.recv(64, socket.MSG_WAITALL)
    # A proof of the other role for the very same numbers, which the server has just made.
    mine.sendall(theirs[32:])
    assert "it does not know the key" in str(outcome(first))
    genuine = wire._proof(KEY, b"client", b"n" * 32 + theirs[:32])
    mine, its = socket.socketpair()
    again = answered(its)
    mine.sendall(b"n" * 32)
    assert mine.recv(64, socket.MSG_WAITALL) != theirs
    mine.sendall(genuine)  # as it was good on the first connection
    assert "it does not know the key" in str(outcome(again))


def joined() -> tuple[Wire, Wire]:
    """Two ends of a line, the client's first."""
    listener = socket.create_server(("127.0.0.1", 0))
    found = answered_at(listener)
    mine = wire.call(*listener.getsockname(), KEY)
    other = outcome(found)
    assert isinstance(other, Wire)
    listener.close()
    return mine, other


def answered_at(listener: socket.socket) -> list[Wire | OSError]:
    found: list[Wire | OSError] = []
    threading.Thread(target=lambda: found.append(wire.answer(listener.accept()[0], KEY)), daemon=True).start()
    return found


def tagged(line: Wire, data: bytes) -> bytes:
    return wire._HEAD.pack(len(data), wire._tag(line._ours, line._sent, data)) + data


DEEP = b"\x82\xa1q" + b"\x91" * 1_000_000 + b"\xc0" + b"\xa4type\xa5Alive"


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\x93\x01\x02\x03",
        b"\x81\xa4type\xa3Ask",
        pickle.dumps([5, 6, 7]),
        DEEP,
        msgspec.msgpack.encode(Ask(0, [1], SAMPLING)),  # which a client says
        msgspec.msgpack.encode({"type": "Finished", "key": 0, "completions": [{"token_ids": ["5"]}]}),
        msgspec.msgpack.encode({"type": "Alive", "more": 1}),
    ],
    ids=["nothing", "numbers", "half", "a pickle", "nested", "a question", "strings", "a field too many"],
)
def test_what_is_no_message_of_a_server_is_an_error_of_the_line(nonsense: bytes) -> None:
    mine, other = joined()
    other._peer.sendall(tagged(other, nonsense))
    with pytest.raises(OSError, match="no message"):
        mine.receive()
    with pytest.raises((EOFError, OSError)):
        other.receive()  # the other end is told


def test_a_message_that_was_changed_or_repeated_or_left_out_is_noticed() -> None:
    said = wire._ENCODER.encode(Alive())
    for spoil in (
        lambda other: tagged(other, said)[:-1] + b"x",
        lambda other: tagged(other, said) * 2,
        lambda other: (setattr(other, "_sent", 1), tagged(other, said))[1],
        lambda other: wire._HEAD.pack(len(said), wire._tag(other._theirs, 0, said)) + said,  # its own, sent back
    ):
        mine, other = joined()
        other._peer.sendall(spoil(other))
        with pytest.raises(OSError, match="not as it was sent"):
            for _ in range(2):
                mine.receive()


def test_a_size_that_nobody_asked_for_takes_no_memory() -> None:
    mine, other = joined()
    other._peer.sendall(wire._HEAD.pack(0xFFFFFFFF, bytes(32)))
    with pytest.raises(OSError, match="announced a message of 4294967295 bytes"):
        mine.receive()


@pytest.mark.parametrize("rest", [b"", b"."])
def test_a_message_that_does_not_go_on_is_given_up(rest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STALL", 0.2)
    mine, other = joined()
    other._peer.sendall(wire._HEAD.pack(100, bytes(32)))
    ended = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            while rest and not ended.wait(0.02):
                other._peer.sendall(rest)

    threading.Thread(target=drip, daemon=True).start()
    with pytest.raises(OSError, match="timed out"):
        mine.receive()
    ended.set()


def test_who_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "STALL", 0.2)
    mine, other = joined()
    with pytest.raises(OSError, match="timed out"):
        while True:
            other.send(Refused("x" * 1_000_000))
    with pytest.raises((EOFError, OSError)):
        while True:
            mine.receive()
