"""The journal: what toy stages really ran, and when, as lines of the file that JOURNAL names; no file, no journal.

A line is `time process event node`. A process that ends by itself writes `exit` last; one that was killed does not.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stages.contract import Context

#: A number for this process that the kernel gives no other one later.
_PROCESS = f"{os.getpid()}.{time.time_ns()}"


@contextmanager
def journaled(context: Context) -> Iterator[None]:
    """Around everything that a stage does."""
    if "JOURNAL" in os.environ:
        atexit.unregister(_write)
        atexit.register(_write, "exit", "-")
    note("start", context)
    yield
    note("end", context)


def note(event: str, context: Context) -> None:
    """Write that a node is still being worked on."""
    _write(event, "/".join(context.output.parts[-3:-1]))


def _write(event: str, node: str) -> None:
    if "JOURNAL" in os.environ:
        # Appending one short line is atomic, whoever else does it.
        with open(os.environ["JOURNAL"], "ab", buffering=0) as file:
            file.write(f"{time.time():.3f} {_PROCESS} {event} {node}\n".encode())
