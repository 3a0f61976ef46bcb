"""What the kernel says of processes, those of others included."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def started_at(pid: int) -> int | None:
    """When the process started, in the kernel's ticks; None if it is gone or a zombie."""
    fields = status_of(pid)
    return int(fields[19]) if fields and fields[0] != "Z" else None


def parent_of(pid: int) -> int | None:
    """The process that it belongs to."""
    fields = status_of(pid)
    return int(fields[1]) if fields else None


def status_of(pid: int) -> list[str]:
    """The kernel's line on the process, from its state on."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def command_of(pid: int) -> str:
    """The name of its program, shortened."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def environment_of(pid: int) -> list[str]:
    """The environment that the process was started with."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return []


def open_files(pid: int) -> set[str]:
    """The paths of the files that the process holds open."""
    paths = set()
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                paths.add(os.readlink(descriptor))
    return paths


def end(pid: int, how: signal.Signals, seconds: float = 20.0) -> None:
    """Signal a process and wait until it is gone, by SIGKILL if need be."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
        while started_at(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
