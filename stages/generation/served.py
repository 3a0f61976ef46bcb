"""The engine of a server, as one of its clients has it (see `stages.generation.server`)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from stages.contract import Lost, StageError
from stages.generation import address as addresses
from stages.generation import wire
from stages.generation.address import Address
from stages.generation.engine import Completion, Engine, Sampling
from stages.generation.wire import Alive, Ask, Finished, Forget, Message, Refused, Reload, Wire

#: Seconds between two looks for a server that is not there yet.
LOOK = 0.2
Signal = Callable[[], None]


class ServedEngine(Engine):
    """The engine of a server, as one of its clients has it."""

    def __init__(self, line: Wire, address: Address, patience: float, heard: Signal) -> None:
        """See `connect`."""
        self._line = line
        self._host = address.host
        self._patience = patience
        self._heard = heard
        self._inside: dict[int, int] = {}  # key -> completions
        self.positions = address.positions
        self.capacity = address.capacity

    def add(self, key: int, prompt: list[int], sampling: Sampling) -> None:
        self._inside[key] = sampling.n
        self._send(Ask(key, prompt, sampling))

    def step(self) -> list[tuple[int, list[Completion]]]:
        message = self._receive()
        assert isinstance(message, Finished)
        self._inside.pop(message.key)
        return [(message.key, message.completions)]

    @property
    def unfinished(self) -> int:
        return sum(self._inside.values())

    def abort(self) -> None:
        self._inside.clear()
        self._send(Forget())
        while not isinstance(self._receive(), Forget):  # what had been finished
            continue

    def reload(self, folder: Path) -> None:
        self._send(Reload(str(folder)))
        self._receive()

    def close(self) -> None:
        self._line.close()

    def _send(self, message: Message) -> None:
        try:
            self._line.send(message)
        except OSError as error:
            raise self._lost(str(error)) from None

    def _receive(self) -> Message:
        """The next message that is not just a sign of life.

        Raises:
            Lost: the server is gone, or says nothing.
            StageError: it could not do what it was asked to.
        """
        while True:
            try:
                if not self._line.hears(self._patience):
                    raise self._lost(f"it has said nothing for {self._patience:g} s")
                message = self._line.receive()
            except (EOFError, OSError) as error:
                raise self._lost(str(error) or "it ended") from None
            self._heard()
            if isinstance(message, Refused):
                raise StageError(message.why)
            if not isinstance(message, Alive):
                return message

    def _lost(self, why: str) -> Lost:
        return Lost(f"the rollout server on {self._host} is lost: {why}")


def connect(
    place: Path, patience: float, *, check: Signal = lambda: None, heard: Signal = lambda: None
) -> ServedEngine:
    """The engine of the server that says at `place` where it is, once it is ready.

    Args:
        place: the file that is to say it.
        patience: seconds for which the server may not be there, or say nothing later.
        check: called while it is waited for; raises if there is nothing to wait for.
        heard: called whenever it has said something later.

    Raises:
        Lost: it does not come, or cannot be reached.
    """
    deadline = time.monotonic() + patience
    while not place.exists():
        check()  # which takes a moment
        if time.monotonic() > deadline:
            raise Lost(f"no rollout server is ready at {place} after {patience:g} s")
        time.sleep(LOOK)
    try:
        address = addresses.read(place)
    except OSError as error:
        raise Lost(str(error)) from None
    try:
        line = wire.call(address.ip, address.port, address.key)
    except OSError as error:
        raise Lost(f"the rollout server on {address.host}:{address.port} cannot be reached: {error}") from None
    return ServedEngine(line, address, patience, heard)
