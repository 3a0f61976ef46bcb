"""The address of a rollout server: a file that it writes for its owner alone, and that nobody else can plant."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import msgspec

#: Bytes of an address, at most.
LARGEST = 4096

#: What a server listens at whose clients are all on its machine.
LOOPBACK = "127.0.0.1"


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is, and what its engine can do (see `stages.generation.engine.Engine`).

    Attributes:
        host: the machine, for people.
        ip, port: where it listens.
        key: the bytes that both sides have to know.
    """

    host: str
    ip: str
    port: int
    key: bytes
    positions: int
    capacity: int

    def __repr__(self) -> str:
        """Without the key, wherever it is printed."""
        return f"{type(self).__name__}({self.host}:{self.port})"


def write(place: Path, address: Address) -> None:
    """Write it down, whole or not at all, for the owner alone."""
    draft = place.with_name(f"{place.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(msgspec.json.encode(address))
    os.replace(draft, place)


def read(place: Path) -> Address:
    """The address in a file of this user that nobody else can read or write.

    Raises:
        OSError: the file is a link, or somebody else's, or open to others, or has no address.
    """
    with open(os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        seen = os.fstat(file.fileno())
        if not stat.S_ISREG(seen.st_mode) or seen.st_uid != os.geteuid() or stat.S_IMODE(seen.st_mode) & 0o077:
            raise OSError(f"{place} was not written by a rollout server of this user, for this user alone")
        try:
            return msgspec.json.decode(file.read(LARGEST), type=Address)
        except msgspec.MsgspecError as error:
            raise OSError(f"{place} has no address of a rollout server: {error}") from None


def towards(host: str) -> str:
    """The IP of this machine's interface that leads to another machine of the job; nothing is sent."""
    family, kind, _, _, target = socket.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(target)
        ip: str = probe.getsockname()[0]
    return ip
