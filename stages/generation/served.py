"""The engine of a server, as one of its clients has it (see `stages.generation.server`).

What is sent is pickled, after both sides have shown that they know the key of the server's file.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from stages.contract import Lost, StageError
from stages.generation.engine import Completion, Engine, Sampling

#: Seconds between two looks for a server that is not there yet.
LOOK = 0.2
Signal = Callable[[], None]


class Alive:
    """A sign of life; pickled, it is this one object again."""

    def __reduce__(self) -> str:
        return "ALIVE"


ALIVE = Alive()


class ServedEngine(Engine):
    """The engine of a server, as one of its clients has it."""

    def __init__(self, connection: Connection, said: Mapping[str, Any], patience: float, heard: Signal) -> None:
        """`said` is what the server says of itself; see `connect` for the others."""
        self._connection = connection
        self._host = said["host"]
        self._patience = patience
        self._heard = heard
        self._inside: dict[int, int] = {}  # key -> completions
        self.positions = said["positions"]
        self.capacity = said["capacity"]

    def add(self, key: int, prompt: list[int], sampling: Sampling) -> None:
        self._inside[key] = sampling.n
        self._send((key, prompt, sampling))

    def step(self) -> list[tuple[int, list[Completion]]]:
        key, completions = self._receive()
        self._inside.pop(key)
        return [(key, completions)]

    @property
    def unfinished(self) -> int:
        return sum(self._inside.values())

    def abort(self) -> None:
        self._inside.clear()
        self._send(None)
        while self._receive() is not None:  # what had been finished
            continue

    def reload(self, folder: Path) -> None:
        self._send(folder)
        self._receive()

    def close(self) -> None:
        self._connection.close()

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._lost(str(error)) from None

    def _receive(self) -> Any:
        """The next message that is not just a sign of life.

        Raises:
            Lost: the server is gone, or says nothing.
            StageError: it could not do what it was asked to.
        """
        while True:
            try:
                if not self._connection.poll(self._patience):
                    raise self._lost(f"it has said nothing for {self._patience:g} s")
                message = self._connection.recv()
            except (EOFError, OSError) as error:
                raise self._lost(str(error) or "it ended") from None
            self._heard()
            if isinstance(message, StageError):
                raise message
            if message is not ALIVE:
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
    given = json.loads(place.read_text())
    try:
        connection = Client((given["host"], given["port"]), authkey=bytes.fromhex(given["key"]))
    except (OSError, multiprocessing.AuthenticationError) as error:
        raise Lost(f"the rollout server on {given['host']}:{given['port']} cannot be reached: {error}") from None
    return ServedEngine(connection, given, patience, heard)
