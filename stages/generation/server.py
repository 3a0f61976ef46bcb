"""An engine that serves several processes, on this machine or others: it has GPUs of its own, and answers over TCP.

    with Server(opening, place, ...) as server:          in one process of this machine
    engine = served.connect(place, patience, ...)        in each process that wants to generate

or `serve(...)` in a process on another machine that somebody else has started. Where it can be reached, and the key
that it wants to see, is in a file for its owner alone, which appears when the engine is ready. What is sent is pickled,
after both sides have shown that they know the key.

A client notices at once that its server has ended, and after its patience that it hangs: a server at work sends a sign
of life whenever its engine has made a step. A server ends when its last client has gone.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import secrets
import socket
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, Listener, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from stages import lifeline
from stages.contract import Input, Lost, Resources, StageError
from stages.generation.engine import Engine, load
from stages.generation.served import ALIVE, LOOK

#: Seconds between two signs of life of a server that is working.
BEAT = 2.0


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The engine that a server opens; the fields are those of `engine.load`."""

    source: Input
    engine: str
    dtype: str
    resources: Resources


class Server:
    """The process on this machine that has an engine; it ends with this object, and when this process does."""

    def __init__(self, opening: Opening, place: Path, devices: str, patience: float) -> None:
        """Start it; `devices` are its `CUDA_VISIBLE_DEVICES`, and after `patience` seconds without clients it ends."""
        place.unlink(missing_ok=True)  # of a start before this one
        context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
        output, its_output = context.Pipe(duplex=False)
        # No daemon in the sense of multiprocessing: those may have no children, and an engine may.
        self._process = context.Process(target=_own, args=(its_output, os.getpid(), devices, opening, place, patience))
        self._process.start()
        self._place = place
        its_output.close()
        self._printed = ""
        self._printing = threading.Thread(target=self._pass_on, args=(output,), daemon=True)
        self._printing.start()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.join()
        self._place.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise if it is gone.

        Raises:
            Lost: with the last line that it printed.
        """
        self._process.join(LOOK)
        if not self._process.is_alive():
            self._printing.join(LOOK)
            code = self._process.exitcode or 0
            if code < 0:
                raise Lost(f"the rollout server was killed by signal {-code}")
            raise Lost(f"the rollout server ended (exit code {code}): {self._printed}")

    def _pass_on(self, output: Connection) -> None:
        """Print what it prints, and keep the last line of it."""
        with output, open(os.dup(output.fileno()), errors="replace") as lines:
            for line in lines:
                self._printed = line.strip() or self._printed
                print(f"[rollouts] {line}", end="", file=sys.stderr, flush=True)


def _own(output: Connection, parent: int, devices: str, *job: Any) -> None:
    """The life of a server that `Server` has started: it serves what `job` says."""
    lifeline.end_with_parent()
    if os.getppid() != parent:  # it died before the call
        os._exit(1)
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    os.environ["CUDA_VISIBLE_DEVICES"] = devices
    serve(*job)
    os._exit(0)  # whatever threads the engine has left


def serve(opening: Opening, place: Path, patience: float) -> None:
    """Open the engine, say at `place` where it is, and work for whoever connects, until the last one has gone.

    Raises:
        StageError: the engine cannot be opened, or nobody has connected after `patience` seconds.
    """
    engine = load(opening.source, engine=opening.engine, dtype=opening.dtype, resources=opening.resources)
    key = secrets.token_bytes(32)
    with Listener(("", 0), backlog=128, authkey=key) as listener:
        arrived: deque[Connection] = deque()
        threading.Thread(target=_accept, args=(listener, arrived), daemon=True).start()
        _say(place, key, listener.address[1], engine)
        try:
            _Desk(engine, arrived, patience).work()
        finally:
            place.unlink(missing_ok=True)


def _say(place: Path, key: bytes, port: int, engine: Engine) -> None:
    """Write down where this server is, for its owner alone."""
    said = {"host": socket.gethostname(), "port": port, "key": key.hex()}
    draft = place.with_name(f"{place.name}.{os.getpid()}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({**said, "positions": engine.positions, "capacity": engine.capacity}, file)
    os.replace(draft, place)


def _accept(listener: Listener, arrived: deque[Connection]) -> None:
    """Take whoever knows the key."""
    while True:
        try:
            arrived.append(listener.accept())
        except multiprocessing.AuthenticationError:
            continue
        except (OSError, EOFError):  # somebody who hung up; or the end of the listener
            time.sleep(LOOK)


class _Desk:
    """Takes what clients send, has the engine work on it, and sends them what is theirs."""

    def __init__(self, engine: Engine, arrived: deque[Connection], patience: float) -> None:
        self._engine = engine
        self._arrived = arrived
        self._clients: list[Connection] = []
        self._deadline = time.monotonic() + patience
        self._numbers = itertools.count()
        self._inside: dict[int, tuple[Connection | None, int]] = {}  # the engine's key -> whose, that one's key
        self._beaten = 0.0

    def work(self) -> None:
        """Until the last client has gone."""
        while True:
            while self._arrived:
                self._clients.append(self._arrived.popleft())
                self._deadline = float("inf")
            if not self._clients:
                if self._deadline == float("inf"):
                    return
                if time.monotonic() > self._deadline:
                    raise StageError("nobody has connected to this rollout server")
            for client in wait(self._clients, timeout=0 if self._inside else LOOK):
                assert isinstance(client, Connection)
                self._hear(client)
            if self._inside:
                for key, completions in self._engine.step():
                    whose, theirs = self._inside.pop(key)
                    self._tell(whose, (theirs, completions))
                self._beat()

    def _hear(self, client: Connection) -> None:
        """Do what one client asks, or forget it if it has gone."""
        try:
            message = client.recv()
        except (EOFError, OSError):
            self._clients.remove(client)  # what it asked for is still done, and told to nobody
            return
        if message is None:
            self._inside = {n: (None if who is client else who, key) for n, (who, key) in self._inside.items()}
            self._tell(client, None)
        elif isinstance(message, Path):
            try:
                self._engine.reload(message)
                self._tell(client, message)
            except Exception as error:  # whatever a library raises for files that it cannot read
                self._tell(client, StageError(f"the engine cannot take the weights in {message}: {error}"))
        else:
            theirs, prompt, sampling = message
            number = next(self._numbers)
            self._inside[number] = client, theirs
            self._engine.add(number, prompt, sampling)

    def _beat(self) -> None:
        if time.monotonic() - self._beaten > BEAT:
            self._beaten = time.monotonic()
            for whose in {whose for whose, _ in self._inside.values()}:
                self._tell(whose, ALIVE)

    def _tell(self, client: Connection | None, message: Any) -> None:
        with contextlib.suppress(OSError):  # that it has gone is heard when it is listened to
            if client is not None:
                client.send(message)
