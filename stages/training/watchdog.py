"""Notices that a training hangs: when nothing has moved for a while, it says where, and ends the process.

A hung collective or a hung engine raises nothing and prints nothing. Whoever works says so with `beat`; a thread looks
whether the last time was too long ago. It prints the stacks of all threads, so that the place can be found.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
import time
from types import TracebackType

from stages.contract import Context

#: Looks at the clock per patience.
LOOKS = 20


class Watchdog:
    """Calls `context.abandon` once nothing has been heard for `patience` seconds, while it is entered."""

    def __init__(self, context: Context) -> None:
        self._patience = context.resources.patience
        self._context = context
        self._heard = time.monotonic()
        self._doing = "starting"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watchdog:
        self.beat("starting")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def beat(self, doing: str) -> None:
        """Something has moved; `doing` is what is done now."""
        self._doing = doing
        self._heard = time.monotonic()

    def _watch(self) -> None:
        while not self._ended.wait(self._patience / LOOKS):
            silent = time.monotonic() - self._heard
            if silent > self._patience:
                faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
                self._context.abandon(
                    f"{self._doing}: nothing has moved on rank {self._context.rank} for {silent:.0f} s, so it hangs "
                    f"(patience: {self._patience} s; the log has the stacks of all threads)"
                )
                return
