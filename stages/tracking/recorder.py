"""The process beside a worker that talks to W&B: `python -m stages.tracking.recorder`, messages on standard input.

It is a process of its own so that nothing of W&B can fail, stall or change a stage: its import, its threads, its hooks
and its network. It reads a JSON object a line; to one that has `ask` it answers with a line on standard output. The end
of its input is the end of the worker, however that came: then it closes the run that is open.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import sys
import threading
from typing import Any


def main() -> int:
    """Handle messages until there are no more."""
    for number in (signal.SIGTERM, signal.SIGINT):  # the worker gets them too, and its end is this one's
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    logging.raiseExceptions = False  # on a full disk the client's own log would be a traceback a line
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    desk = _desk()
    _answer(answers, {"loaded": True})
    while (line := lines.get()) is not None:
        message = json.loads(line)
        answer = _handled(desk, message)
        if "ask" in message:
            _answer(answers, answer)
    _handled(desk, {"do": "leave"})
    return 0


def _read(lines: queue.SimpleQueue[bytes | None]) -> None:
    """Take messages as soon as they come: a worker does not wait for W&B."""
    for line in sys.stdin.buffer:
        if line.endswith(b"\n"):  # a worker that was killed may leave half of one
            lines.put(line)
    lines.put(None)


class _Silent:
    """Where W&B cannot be used at all."""

    def __init__(self, why: str) -> None:
        self._why = why

    def handle(self, message: dict[str, Any]) -> dict[str, Any]:
        return {"error": self._why}

    def drop(self) -> None:
        pass


def _desk() -> Any:
    try:
        from stages.tracking.desk import Desk

        return Desk()
    except ImportError as error:
        why = f"nothing is recorded: {error}; pip install -e '.[wandb]', or wandb.mode=disabled"
        print(f"W&B: {why}", file=sys.stderr, flush=True)
        return _Silent(why)


def _handled(desk: Any, message: dict[str, Any]) -> dict[str, Any]:
    """What became of a message. After a failure nothing more is said of that run."""
    try:
        if message["do"] == "leave":
            desk.drop()
            return {}
        found: dict[str, Any] = desk.handle(message)
        return found
    except Exception as error:  # whatever it is, the study goes on without it
        why = " ".join(str(error).split())[:300] or type(error).__name__
        print(f"W&B: {why}; no more of this run is recorded", file=sys.stderr, flush=True)
        if message["do"] != "leave":
            _handled(desk, {"do": "leave"})
        return {"error": why}


def _answer(answers: Any, answer: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # whoever asked is gone
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    sys.exit(main())
