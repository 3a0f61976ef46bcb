"""Out of memory: the evidence of it, in what was printed and in what the kernel counts.

A process that the kernel kills for lack of memory leaves no word itself. Its log may have one of Slurm's, the exception
of whoever used it, or nothing but the end; the kernel counts whom it has killed.
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from stages import jsonfile

#: What torch, vLLM, Slurm, the kernel and C++ say.
_SAYS = re.compile(
    r"OutOfMemoryError|(CUDA|HIP|XPU)( error:)? out of memory|OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED|oom[-_ ]?kill"
    r"|Out of memory: Killed|(job|step|virtual) memory limit|exceeded (virtual )?memory limit|can't allocate memory"
    r"|Cannot allocate memory|No available memory for the cache blocks|std::bad_alloc|\bMemoryError\b",
    re.IGNORECASE,
)
#: Bytes at the end of a log in which its last words are looked for, and characters of them that a message has.
TAIL, LONGEST = 2**16, 300
#: How a process ends that the kernel has killed: as Python gives it, and as a shell does.
KILLED = {-signal.SIGKILL, 128 + signal.SIGKILL}
#: What begins a message about it.
WORDS = "out of memory: "

_CGROUPS, _OWN, _ALL = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"), Path("/proc/vmstat")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A moment: how many processes the kernel had killed for lack of memory, and how long a log was."""

    kills: int | None
    log: Path | None
    size: int

    def evidence(self, code: int | None = None) -> str | None:
        """What says that memory ran out since this moment, for a process that was lost; None if nothing does.

        `code` is how the process ended, where that is known.
        """
        said = line(tail(self.log, self.size)) if self.log is not None else None
        if said is not None:
            return said
        now = kills()
        if code is not None and code not in KILLED:
            return None
        if self.kills is not None and now is not None and now > self.kills:
            return "the kernel killed a process of it (oom-kill)"
        return None


def mark(log: Path | None) -> Mark:
    """This moment, for a process that prints to `log`."""
    try:
        size = 0 if log is None else log.stat().st_size
    except OSError:
        size = 0
    return Mark(kills=kills(), log=log, size=size)


def line(text: str) -> str | None:
    """The last line of a text that says that memory ran out."""
    found = [each.strip() for each in text.splitlines() if _SAYS.search(each)]
    return found[-1][:LONGEST] if found else None


def last(text: str) -> str | None:
    """The last reason in what was printed: that memory ran out, wherever that stands; else the last line."""
    lines = [each.strip() for each in text.splitlines() if each.strip()]
    return line(text) or (lines[-1][:LONGEST] if lines else None)


def tail(log: Path, start: int = 0) -> str:
    """The end of a log, but nothing before the byte `start`; empty if it cannot be read."""
    try:
        with jsonfile.opened(log) as stream:
            stream.seek(max(start, stream.seek(0, os.SEEK_END) - TAIL))
            return stream.read(TAIL).decode(errors="replace")
    except (OSError, ValueError):
        return ""


def own_log() -> Path | None:
    """The file that this process prints to; None if it is none."""
    try:
        path = Path(os.readlink("/proc/self/fd/1"))
    except OSError:
        return None
    return path if path.is_file() else None


def kills() -> int | None:
    """How many processes of this cgroup the kernel has killed for lack of memory, or of the machine without cgroups."""
    for file in (*_counters(), _ALL):
        try:
            pairs = dict(words for each in file.read_text().splitlines() if len(words := each.split()) == 2)
            return int(pairs["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return None


def _counters() -> list[Path]:
    """The files that may have the count: of version 2 and of version 1, of our own group and of the container's."""
    try:
        groups = [each.split(":", 2) for each in _OWN.read_text().splitlines()]
    except OSError:
        groups = []
    paths = {controllers: path.lstrip("/") for _, controllers, path in groups}
    two = [_CGROUPS / paths.get("", "") / "memory.events", _CGROUPS / "memory.events"]
    one = [_CGROUPS / "memory" / paths.get("memory", "") / "memory.oom_control"]
    return [*two, *one, _CGROUPS / "memory" / "memory.oom_control"]
