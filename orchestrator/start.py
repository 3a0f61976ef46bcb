"""The process of a command line, around its verb: Ctrl-C while it starts, and an output that nobody takes any more.

Imports nothing of the project: `quietly` has to run before half a second of imports, and is for a process alone; who
calls `main` in a process of their own is left as they are.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TextIO

#: Exit codes, as `orchestrator.command` has them.
_WRONG, _INTERRUPTED = 2, 130
#: That of a program whose reader is gone, as in `plan ... | head`.
_ENOUGH = 128 + signal.SIGPIPE


class Lost(BaseException):
    """Standard output takes nothing more. No `Exception`: whoever prints has to end, whatever else is caught there."""


class _Output(io.TextIOWrapper):
    """Standard output whose failures are told from those of files: a disk may be full there as well."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:  # whoever read it has had enough
            raise
        except (OSError, ValueError) as error:  # ValueError: it was closed
            raise Lost(getattr(error, "strerror", None) or str(error)) from None

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except (OSError, ValueError) as error:
            raise Lost(getattr(error, "strerror", None) or str(error)) from None


class _Errors(io.TextIOWrapper):
    """Standard error, which may go unheard: the exit code says the rest."""

    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _discard(2)


def quietly() -> None:
    """From now on, until `run`, Ctrl-C ends this process at once: an import that is interrupted shows a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it is ignored, as behind nohup
        signal.signal(signal.SIGINT, _end)


def run(main: Callable[[], int]) -> int:
    """The exit code of `main`, which hears of Ctrl-C by KeyboardInterrupt."""
    if sys.stdout is None:
        print("error: standard output is closed; send it to a file, or to /dev/null", file=sys.stderr)
        return _WRONG
    sys.stdout = _wrapped(sys.stdout, _Output)
    if sys.stderr is not None:
        sys.stderr = _wrapped(sys.stderr, _Errors)
    waits = signal.getsignal(signal.SIGINT) is _end
    try:
        if waits:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main()
        if waits:
            signal.signal(signal.SIGINT, _end)
        sys.stdout.flush()
    except Lost as error:
        _discard(1)
        print(f"error: standard output cannot be written: {error}", file=sys.stderr)
        return _WRONG
    except BrokenPipeError:
        _discard(1)
        return _ENOUGH
    except KeyboardInterrupt:  # in the moments before and after
        return _INTERRUPTED
    return code


def script() -> int:
    """The console script `orchestrator`."""
    quietly()
    from orchestrator.__main__ import main

    return run(main)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted; the same command continues\n")
    os._exit(_INTERRUPTED)


def _wrapped(stream: TextIO, kind: Any) -> Any:
    """The same stream, of another kind. What it has no letters for is shown by number."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    encoding, errors = stream.encoding, "backslashreplace" if stream.errors == "strict" else stream.errors
    buffering, through = stream.line_buffering, stream.write_through
    return kind(stream.detach(), encoding=encoding, errors=errors, line_buffering=buffering, write_through=through)


def _discard(descriptor: int) -> None:
    """From now on what is written there goes nowhere, also what Python writes when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
