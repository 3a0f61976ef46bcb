"""Several copies of a model, each in a process with GPUs of its own, that share the prompts: together one engine.

Prompts are handed out one at a time, to whichever copy finished one, so no copy waits while another has a queue.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from stages import lifeline
from stages.contract import Input, Resources, StageError
from stages.generation.engine import Completion, Engine, Sampling, load_one

#: Lines of a copy's output that are shown when it dies.
TAIL = 30
#: Seconds between two looks at whether a silent copy is alive. Its pipe tells too, unless a child of its own has it.
LOOK = 0.5
#: Seconds that a copy which says nothing any more has to end by itself.
PATIENCE = 5


@dataclass(frozen=True)
class Died:
    """What is received from a copy that is no more."""

    exitcode: int | None
    tail: str


@dataclass(frozen=True)
class Replica:
    """One copy: its process, what it is sent through (prompts; None to forget them; a folder to take weights from), and
    the end of what it printed.

    Only the thread that takes what it sends waits for the process, and says so with `ended`.
    """

    number: int
    process: BaseProcess
    post: Connection
    printed: deque[str]
    ended: threading.Event

    def send(self, message: Any) -> None:
        with contextlib.suppress(OSError):  # it died, which will be received, with the reason
            self.post.send(message)


class Replicas(Engine):
    """Generates with several processes. They end with this object, and when this process does, however it ends."""

    def __init__(self, source: Input, *, engine: str, dtype: str, resources: Resources) -> None:
        """Open all copies at once.

        Raises:
            StageError: a copy cannot be opened.
        """
        self._inbox: queue.SimpleQueue[tuple[Replica, Any]] = queue.SimpleQueue()
        self._inside: dict[int, tuple[Replica, int]] = {}  # key -> who works on it, and on how many completions
        self._failure: StageError | None = None
        self._replicas: list[Replica] = []
        util.Finalize(self, _end, args=(self._replicas,), exitpriority=0)
        threads = max(1, resources.cpus // resources.copies)
        for number, visible in enumerate(devices(os.environ.get("CUDA_VISIBLE_DEVICES"), resources)):
            with _environment(CUDA_VISIBLE_DEVICES=visible, OMP_NUM_THREADS=str(threads)):
                self._replicas.append(_start(number, self._inbox, (source, engine, dtype, resources)))
        ready = [self._receive()[1] for _ in self._replicas]
        self.positions = ready[0][0]
        self.capacity = sum(capacity for _, capacity in ready)

    def add(self, key: int, prompt: list[int], sampling: Sampling) -> None:
        if self._failure is not None:
            raise self._failure
        load = Counter(replica.number for replica, _ in self._inside.values())
        replica = min(self._replicas, key=lambda each: load[each.number])
        self._inside[key] = (replica, sampling.n)
        replica.send((key, prompt, sampling))

    def step(self) -> list[tuple[int, list[Completion]]]:
        _, (key, completions) = self._receive()
        self._inside.pop(key)
        return [(key, completions)]

    @property
    def unfinished(self) -> int:
        return sum(samples for _, samples in self._inside.values())  # a copy tells of whole prompts

    def abort(self) -> None:
        self._inside.clear()
        if self._failure is not None:
            return
        self._ask(None)  # before its answer there are completions, of what it had finished

    def reload(self, folder: Path) -> None:
        self._ask(folder)

    def _ask(self, message: Path | None) -> None:
        """Send something to all copies, and wait until each has sent it back as done."""
        for replica in self._replicas:
            replica.send(message)
        answered: set[int] = set()
        while len(answered) < len(self._replicas):
            replica, answer = self._receive()
            if answer == message:
                answered.add(replica.number)

    def _receive(self) -> tuple[Replica, Any]:
        """The next message of any copy, and whose it is.

        Raises:
            StageError: it says that a copy died, or could not be opened. The others are ended.
        """
        replica, message = self._inbox.get()
        if isinstance(message, Died):
            message = StageError(
                f"copy {replica.number} of {len(self._replicas)} of the model ended (exit code {message.exitcode}); "
                f"the end of what it printed:\n{message.tail}"
            )
        if isinstance(message, StageError):
            self._failure = message
            _end(self._replicas)
            raise message
        return replica, message


def devices(visible: str | None, resources: Resources) -> list[str]:
    """What each copy's `CUDA_VISIBLE_DEVICES` is. `("4,5,6,7", 4 GPUs, 2 of them a copy)` gives `["4,5", "6,7"]`.

    Without GPUs no copy sees any. With fewer than the copies need, copies share them.
    """
    every = [str(number) for number in range(resources.gpus)] if visible is None else visible.split(",")
    names = [name for name in every if name][: resources.gpus]
    if not names:
        return [""] * resources.copies
    size = min(resources.tensor_parallel, len(names))
    groups = [",".join(names[at : at + size]) for at in range(0, len(names) - size + 1, size)]
    return list(itertools.islice(itertools.cycle(groups), resources.copies))


def _start(number: int, inbox: queue.SimpleQueue[tuple[Replica, Any]], opening: tuple[Any, ...]) -> Replica:
    """Start a copy, and threads that take what it sends and prints."""
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    post, its_post = context.Pipe()
    output, its_output = context.Pipe(duplex=False)
    # No daemon in the sense of multiprocessing: those may have no children, and a tensor-parallel engine has some.
    process = context.Process(target=_serve, args=(its_post, its_output, os.getpid(), *opening))
    process.start()
    its_post.close()
    its_output.close()
    replica = Replica(number, process, post, deque(maxlen=TAIL), threading.Event())
    printing = threading.Thread(target=_pass_on, args=(output, replica), daemon=True)
    printing.start()
    threading.Thread(target=_take, args=(replica, inbox, printing), daemon=True).start()
    return replica


def _take(replica: Replica, inbox: queue.SimpleQueue[tuple[Replica, Any]], printing: threading.Thread) -> None:
    """Put what a copy sends into the inbox, and at last that it died."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            while not wait([replica.post], timeout=LOOK):
                if not replica.process.is_alive():
                    raise EOFError
            inbox.put((replica, replica.post.recv()))
    replica.process.join(PATIENCE)
    replica.process.kill()
    replica.process.join()
    printing.join(LOOK)
    replica.ended.set()
    inbox.put((replica, Died(replica.process.exitcode, "\n".join(replica.printed))))


def _pass_on(output: Connection, replica: Replica) -> None:
    """Print what a copy prints, with its number, and keep the end of it."""
    with output, open(os.dup(output.fileno()), errors="replace") as lines:
        for line in lines:
            replica.printed.append(line.rstrip("\n"))
            print(f"[copy {replica.number}] {line}", end="", file=sys.stderr, flush=True)


def _end(replicas: list[Replica]) -> None:
    """End all copies: each has nothing that it could lose."""
    for replica in replicas:
        replica.process.kill()
    for replica in replicas:
        replica.ended.wait(PATIENCE)


def _serve(  # noqa: PLR0913 (a process has one call for everything)
    post: Connection, output: Connection, parent: int, source: Input, engine: str, dtype: str, resources: Resources
) -> None:
    """A copy's whole life: open the engine, then work on what is sent until the parent is gone."""
    _die_with(parent)
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    try:
        model = load_one(source, engine=engine, dtype=dtype, resources=resources)
    except StageError as error:
        post.send(error)
        return
    post.send((model.positions, model.capacity))
    arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(post, arrived), daemon=True).start()
    inside = 0
    while True:
        while inside == 0 or not arrived.empty():
            message = arrived.get()
            if message is None:
                model.abort()
                inside = 0
                post.send(None)
            elif isinstance(message, Path):
                model.reload(message)
                post.send(message)
            else:
                model.add(*message)
                inside += 1
        for finished in model.step():
            inside -= 1
            post.send(finished)


def _listen(post: Connection, arrived: queue.SimpleQueue[Any]) -> None:
    """Take prompts as they come, so that the parent never waits to send one. The parent's end is the end."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            arrived.put(post.recv())
    os._exit(0)


def _die_with(parent: int) -> None:
    """Let the kernel end this process when the one that started it ends, also when this one hangs in C code."""
    lifeline.end_with_parent()
    if os.getppid() != parent:  # it died before the call
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Environment variables for what is started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
