"""The address of a rollout server: a file that it writes for its owner alone, and that nobody else can plant."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stages import meeting_place


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
    meeting_place.leave(place, msgspec.json.encode(address))


def read(place: Path) -> Address:
    """The address in a file of this user that nobody else can read or write.

    Raises:
        OSError: the file is a link, or somebody else's, or open to others, or has no address.
    """
    try:
        return msgspec.json.decode(meeting_place.read(place), type=Address)
    except msgspec.MsgspecError as error:
        raise OSError(f"{place} has no address of a rollout server: {error}") from None
