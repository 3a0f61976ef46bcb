"""An engine that serves several processes, on this machine or others: it has GPUs of its own, and answers over TCP.

    with Server(opening, place, ...) as server:          in one process of this machine
    engine = served.connect(place, patience, ...)        in each process that wants to generate

or `serve(...)` in a process on another machine that somebody else has started. Where it can be reached, and the key
that it wants to see, is in a file for its owner alone, which appears when the engine is ready (`address`). It listens
at loopback if all its clients are on its machine, else at the interface that leads to them. `wire` has the messages.

A client notices at once that its server has ended, and after its patience that it hangs: a server at work sends a sign
of life whenever its engine has made a step. A server ends when its last client has gone.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import secrets
import socket
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from stages import lifeline
from stages.contract import Input, Lost, Resources, StageError
from stages.generation import address as addresses
from stages.generation.address import Address
from stages.generation.door import BACKLOG, Door
from stages.generation.engine import Engine, load
from stages.generation.served import LOOK
from stages.generation.wire import BEAT, Alive, Ask, Finished, Forget, Message, Refused, Reload, Wire
from stages.route import LOOPBACK

#: Characters of a reason that a client is told, at most.
_REASON = 4000


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


def serve(opening: Opening, place: Path, patience: float, ip: str = LOOPBACK) -> None:
    """Open the engine, say at `place` where it is, and work for whoever connects, until the last one has gone.

    `ip` is that of the interface to listen at.

    Raises:
        StageError: the engine cannot be opened, or nobody has connected after `patience` seconds.
    """
    engine = load(opening.source, engine=opening.engine, dtype=opening.dtype, resources=opening.resources)
    key = secrets.token_bytes(32)
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.create_server((ip, 0), family=family, backlog=BACKLOG) as listener:
        arrived: deque[Wire] = deque()
        Door(listener, key, arrived).open()
        where = {"host": socket.gethostname(), "ip": ip, "port": listener.getsockname()[1]}
        addresses.write(place, Address(**where, key=key, positions=engine.positions, capacity=engine.capacity))
        try:
            _Desk(engine, arrived, patience).work()
        finally:
            place.unlink(missing_ok=True)


class _Desk:
    """Takes what clients send, has the engine work on it, and sends them what is theirs."""

    def __init__(self, engine: Engine, arrived: deque[Wire], patience: float) -> None:
        self._engine = engine
        self._arrived = arrived
        self._clients: list[Wire] = []
        self._deadline = time.monotonic() + patience
        self._numbers = itertools.count()
        self._inside: dict[int, tuple[Wire | None, int]] = {}  # the engine's key -> whose, that one's key
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
            ready = wait(self._clients, timeout=0 if self._inside else LOOK)  # type: ignore[arg-type]  # has a fileno
            for client in ready:
                assert isinstance(client, Wire)
                self._hear(client)
            if self._inside:
                for key, completions in self._engine.step():
                    whose, theirs = self._inside.pop(key)
                    self._tell(whose, Finished(theirs, completions))
                self._beat()

    def _hear(self, client: Wire) -> None:
        """Do what one client asks, or forget it if it has gone."""
        try:
            message = client.receive()
        except (EOFError, OSError):
            self._clients.remove(client)  # what it asked for is still done, and told to nobody
            client.close()
            return
        if isinstance(message, Forget):
            self._inside = {n: (None if who is client else who, key) for n, (who, key) in self._inside.items()}
            self._tell(client, message)
        elif isinstance(message, Reload):
            try:
                self._engine.reload(Path(message.folder))
                self._tell(client, message)
            except Exception as error:  # whatever a library raises for files that it cannot read
                self._refuse(client, f"the engine cannot take the weights in {message.folder}: {error}")
        elif isinstance(message, Ask):
            number = next(self._numbers)
            try:
                self._engine.add(number, message.prompt, message.sampling)
                self._inside[number] = client, message.key
            except Exception as error:  # of a prompt that it has no room, or no tokens, for
                self._refuse(client, f"the engine cannot take a prompt of {len(message.prompt)} tokens: {error}")

    def _refuse(self, client: Wire, why: str) -> None:
        self._tell(client, Refused(why[:_REASON]))

    def _beat(self) -> None:
        if time.monotonic() - self._beaten > BEAT:
            self._beaten = time.monotonic()
            for whose in {whose for whose, _ in self._inside.values()}:
                self._tell(whose, Alive())

    def _tell(self, client: Wire | None, message: Message) -> None:
        with contextlib.suppress(OSError):  # that it has gone is heard when it is listened to
            if client is not None:
                client.send(message)
