"""The wire between a rollout server and its clients: who may talk there, and in which messages.

Both sides prove that they know the server's key before anything else is said (three passes of ISO/IEC 9798-4):

    client -> server    32 random bytes
    server -> client    32 random bytes, and the server's proof: a keyed hash of both, and of its role
    client -> server    the client's proof

No proof is good for another connection or for the other role, so none can be replayed or reflected. The two then have
a key for each direction. A message is its size, a keyed hash of its number and bytes, and the bytes: msgpack of the
types below, so that a peer can send data and nothing else. Nobody on the way can change, repeat or leave out a message
unnoticed. It can be read on the way: nothing is encrypted.

Whoever takes longer than `HANDSHAKE` for the proofs, or than `STALL` for one message, is cut off.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from multiprocessing.connection import wait

import msgspec

from stages.generation.engine import Completion, Sampling

#: Seconds for connecting, and for showing that one knows the key.
HANDSHAKE = 10.0
#: Seconds for one message to pass, from its first byte to its last.
STALL = 60.0
#: Seconds between two signs of life of a server that is working.
BEAT = 2.0

#: Bytes of a random number, of a proof and of the hash of a message.
_HASH = 32
_HEAD = struct.Struct(f"!I{_HASH}s")

#: Bytes of a message, at most, unless it has completions: a prompt, a path, a reason.
LARGEST = 1 << 24
#: Bytes of a token of a completion, at most: its id, its log-probability and its text.
_TOKEN = 512
#: Bytes of a completion beside its tokens, at most.
_COMPLETION = 1024


class Ask(msgspec.Struct, tag=True, frozen=True, forbid_unknown_fields=True):
    """A client asks for completions of a prompt."""

    key: int
    prompt: list[int]
    sampling: Sampling


class Reload(msgspec.Struct, tag=True, frozen=True, forbid_unknown_fields=True):
    """A client asks for the weights in a folder; the server sends it back when the engine has them."""

    folder: str


class Forget(msgspec.Struct, tag=True, frozen=True, forbid_unknown_fields=True):
    """A client wants nothing more of what it has asked for; sent back, it is the last that was on its way."""


class Finished(msgspec.Struct, tag=True, frozen=True, forbid_unknown_fields=True):
    """The completions of a prompt."""

    key: int
    completions: list[Completion]


class Alive(msgspec.Struct, tag=True, frozen=True, forbid_unknown_fields=True):
    """The server's engine has made a step; said once in `BEAT` seconds at most."""


class Refused(msgspec.Struct, tag=True, frozen=True, forbid_unknown_fields=True):
    """The server could not do what it was asked to."""

    why: str


Asked = Ask | Reload | Forget
Answered = Finished | Alive | Refused | Reload | Forget
Message = Asked | Answered
_ENCODER = msgspec.msgpack.Encoder()
_ASKED, _ANSWERED = msgspec.msgpack.Decoder(Asked), msgspec.msgpack.Decoder(Answered)


class Wire:
    """One end of a connection whose other end knows the key.

    Attributes:
        largest: bytes of a message that is received, at most.
    """

    def __init__(
        self, peer: socket.socket, ours: bytes, theirs: bytes, said: msgspec.msgpack.Decoder[Asked | Answered]
    ) -> None:
        """`ours` and `theirs` are the keys of the two directions; `said` reads what the other end may say."""
        self.largest = LARGEST
        self._peer = peer
        self._ours, self._theirs = ours, theirs
        self._said = said
        self._sent = self._received = 0

    def fileno(self) -> int:
        """For those who wait for several of them."""
        return self._peer.fileno()

    def send(self, message: Message) -> None:
        """Raises OSError if the other end has gone, or takes nothing for `STALL` seconds. The line is dead then."""
        data = _ENCODER.encode(message)
        try:
            self._peer.settimeout(STALL)
            self._peer.sendall(_HEAD.pack(len(data), _tag(self._ours, self._sent, data)) + data)
        except OSError:  # half a message may be on its way: nothing can follow it
            self._cut()
            raise
        self._sent += 1

    def hears(self, patience: float) -> bool:
        """Whether there is something to receive within `patience` seconds."""
        return bool(wait([self._peer], patience))

    def receive(self) -> Message:
        """The next message. After an error the line is dead.

        Raises:
            EOFError, OSError: the other end has gone, stalls, or sends what is no message of its own.
        """
        try:
            return self._next()
        except (EOFError, OSError):
            self._cut()
            raise

    def close(self) -> None:
        self._peer.close()

    def _next(self) -> Message:
        deadline = time.monotonic() + STALL
        size, tag = _HEAD.unpack(_exactly(self._peer, _HEAD.size, deadline))
        if size > self.largest:
            raise OSError(f"it announced a message of {size} bytes, where {self.largest} are allowed")
        data = _exactly(self._peer, size, deadline)
        if not hmac.compare_digest(tag, _tag(self._theirs, self._received, data)):
            raise OSError("a message is not as it was sent")
        self._received += 1
        try:
            return self._said.decode(data)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise OSError(f"it sent what is no message: {error}") from None

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self._peer.shutdown(socket.SHUT_RDWR)


def room(sampling: Sampling) -> int:
    """Bytes of the completions of one prompt, at most."""
    return LARGEST + sampling.n * (_COMPLETION + sampling.max_new_tokens * _TOKEN)


def call(address: str, port: int, key: bytes) -> Wire:
    """Connect to a server.

    Raises:
        OSError: it cannot be reached, does not know the key, or does not answer.
    """
    peer = socket.create_connection((address, port), timeout=HANDSHAKE)
    with _introducing(peer):
        deadline = time.monotonic() + HANDSHAKE
        mine = secrets.token_bytes(_HASH)
        peer.sendall(mine)
        theirs = _exactly(peer, _HASH, deadline)
        _check(_exactly(peer, _HASH, deadline), key, b"server", mine + theirs)
        peer.sendall(_proof(key, b"client", mine + theirs))
        return Wire(peer, *_directions(key, mine + theirs), said=_ANSWERED)


def answer(peer: socket.socket, key: bytes) -> Wire:
    """Take a client that has connected.

    Raises:
        OSError: it does not know the key, or says nothing.
    """
    with _introducing(peer):
        deadline = time.monotonic() + HANDSHAKE
        peer.settimeout(HANDSHAKE)
        both = _exactly(peer, _HASH, deadline) + secrets.token_bytes(_HASH)
        peer.sendall(both[_HASH:] + _proof(key, b"server", both))
        _check(_exactly(peer, _HASH, deadline), key, b"client", both)
        theirs, ours = _directions(key, both)
        return Wire(peer, ours, theirs, said=_ASKED)


@contextlib.contextmanager
def _introducing(peer: socket.socket) -> Iterator[None]:
    """Close a line on which the proofs did not pass."""
    try:
        yield
    except (OSError, EOFError) as error:
        peer.close()
        raise OSError(f"no handshake within {HANDSHAKE:g} s: {str(error) or 'it hung up'}") from None


def _exactly(peer: socket.socket, size: int, deadline: float) -> bytes:
    """So many bytes of a peer, all of them before the deadline; memory is taken as they come."""
    found = bytearray()
    while len(found) < size:
        peer.settimeout(max(deadline - time.monotonic(), 1e-3))
        part = peer.recv(min(size - len(found), 1 << 20))
        if not part:
            raise EOFError("it hung up in the middle" if found else "")
        found += part
    return bytes(found)


def _proof(key: bytes, role: bytes, both: bytes) -> bytes:
    return hmac.digest(key, role + both, "sha256")


def _check(proof: bytes, key: bytes, role: bytes, both: bytes) -> None:
    if not hmac.compare_digest(proof, _proof(key, role, both)):
        raise OSError("it does not know the key")


def _directions(key: bytes, both: bytes) -> tuple[bytes, bytes]:
    """The keys of what a client says and of what a server says, on this connection alone."""
    return _proof(key, b"from client", both), _proof(key, b"from server", both)


def _tag(key: bytes, number: int, data: bytes) -> bytes:
    return hmac.digest(key, number.to_bytes(8) + data, "sha256")
