"""The door of a rollout server: whoever knows the key comes in, and nobody else can keep the others waiting.

Peers show what they know in threads of their own, `GREETED` at a time. Where more come, the one that is there longest
has to go, once it had `LEAST` seconds: of those who know the key none needs so long.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque

from stages.generation import wire
from stages.generation.wire import Wire

#: Peers that may be showing that they know the key at the same time; the next ones wait in the socket's queue.
GREETED = 128
#: Seconds that each of them has, at least.
LEAST = 0.25
#: Connections that the kernel keeps until they are taken.
BACKLOG = 1024
#: Seconds until the next attempt, where a connection cannot be taken.
PAUSE = 0.2


class Door:
    """Takes those who connect to `listener`, until that is closed. Those who know the key come into `arrived`."""

    def __init__(self, listener: socket.socket, key: bytes, arrived: deque[Wire]) -> None:
        self._listener = listener
        self._key = key
        self._arrived = arrived
        self._greeted: dict[socket.socket, float] = {}  # since when, the first one first
        self._lock = threading.Lock()
        self._free = threading.Semaphore(GREETED)

    def open(self) -> None:
        """Take them in a thread."""
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while self._listener.fileno() >= 0:
            if not self._free.acquire(blocking=False):
                self._send_away()
                self._free.acquire()
            try:
                peer, _ = self._listener.accept()
            except OSError:  # somebody who hung up, no descriptor is left, or the end of the listener
                self._free.release()
                time.sleep(PAUSE)
                continue
            with self._lock:
                self._greeted[peer] = time.monotonic()
            threading.Thread(target=self._greet, args=(peer,), daemon=True).start()

    def _greet(self, peer: socket.socket) -> None:
        line = None
        try:
            with contextlib.suppress(OSError):  # not one of ours
                line = wire.answer(peer, self._key)
        finally:
            with self._lock:
                del self._greeted[peer]
            self._free.release()
        if line is not None:
            self._arrived.append(line)

    def _send_away(self) -> None:
        """End the greeting that has taken longest; it frees its place."""
        with self._lock:
            first, since = next(iter(self._greeted.items()), (None, 0.0))
        if first is None:  # it ends at this moment
            return
        time.sleep(max(0.0, since + LEAST - time.monotonic()))
        with self._lock, contextlib.suppress(OSError):
            if first in self._greeted:  # not one that has come in meanwhile
                first.shutdown(socket.SHUT_RDWR)
