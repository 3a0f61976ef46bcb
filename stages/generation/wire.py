"""The wire between a rollout server and its clients: who may talk there, and in which messages.

Messages are msgpack with types of their own, so that a peer can send data and nothing else. Both sides show that they
know the server's key before the first of them; who takes longer than `HANDSHAKE` for that is cut off.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge  # type: ignore[attr-defined]

import msgspec

from stages.generation.engine import Completion, Sampling

#: Seconds for connecting, and for showing that one knows the key.
HANDSHAKE = 10.0
#: Bytes of one message, at most: completions of one prompt, with the log-probabilities of their tokens.
LARGEST = 1 << 30


class Ask(msgspec.Struct, tag=True, frozen=True):
    """A client asks for completions of a prompt."""

    key: int
    prompt: list[int]
    sampling: Sampling


class Reload(msgspec.Struct, tag=True, frozen=True):
    """A client asks for the weights in a folder; the server sends it back when the engine has them."""

    folder: str


class Forget(msgspec.Struct, tag=True, frozen=True):
    """A client wants nothing more of what it has asked for; sent back, it is the last that was on its way."""


class Finished(msgspec.Struct, tag=True, frozen=True):
    """The completions of a prompt."""

    key: int
    completions: list[Completion]


class Alive(msgspec.Struct, tag=True, frozen=True):
    """The server's engine has made a step."""


class Refused(msgspec.Struct, tag=True, frozen=True):
    """The server could not do what it was asked to."""

    why: str


Message = Ask | Reload | Forget | Finished | Alive | Refused
_DECODER = msgspec.msgpack.Decoder(Message)
_ENCODER = msgspec.msgpack.Encoder()


class Wire:
    """One end of a connection whose other end knows the key."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def fileno(self) -> int:
        """For those who wait for several of them."""
        return self._connection.fileno()

    def send(self, message: Message) -> None:
        """Raises OSError if the other end has gone."""
        self._connection.send_bytes(_ENCODER.encode(message))

    def hears(self, patience: float) -> bool:
        """Whether there is something to receive within `patience` seconds."""
        return self._connection.poll(patience)

    def receive(self) -> Message:
        """The next message.

        Raises:
            EOFError, OSError: the other end has gone, or sends what is no message.
        """
        try:
            message: Message = _DECODER.decode(self._connection.recv_bytes(LARGEST))
        except msgspec.MsgspecError as error:
            raise OSError(f"it sent what is no message: {error}") from None
        return message

    def close(self) -> None:
        self._connection.close()


def call(address: str, port: int, key: bytes) -> Wire:
    """Connect to a server.

    Raises:
        OSError: it cannot be reached, does not know the key, or does not answer.
    """
    peer = socket.create_connection((address, port), timeout=HANDSHAKE)
    peer.settimeout(None)
    return _introduced(Connection(peer.detach()), key, calls=True)


def answer(peer: socket.socket, key: bytes) -> Wire:
    """Take a client that has connected.

    Raises:
        OSError: it does not know the key, or says nothing.
    """
    return _introduced(Connection(peer.detach()), key, calls=False)


def _introduced(connection: Connection, key: bytes, *, calls: bool) -> Wire:
    try:
        with _limited(connection):
            for step in (answer_challenge, deliver_challenge) if calls else (deliver_challenge, answer_challenge):
                step(connection, key)
    except Exception as error:  # hung up, cut off, or another key: the library has errors of several kinds
        connection.close()
        raise OSError(f"no handshake within {HANDSHAKE:g} s: {error or 'it hung up'}") from None
    return Wire(connection)


@contextlib.contextmanager
def _limited(connection: Connection) -> Iterator[None]:
    """Cut a connection off that is not through within `HANDSHAKE`: whoever reads or writes there is told at once."""

    def cut() -> None:
        with contextlib.suppress(OSError), socket.socket(fileno=socket.dup(connection.fileno())) as peer:
            peer.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(HANDSHAKE, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
