"""The clock of a file system: what the time is where times of files come from, whatever the clock of this host says.

Hosts that share a store may differ by minutes. The times of its files are the file server's, for all of them; so the
age of a file is the difference between two of those: its own, and that of a file that was touched just now.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

#: Seconds for which a look at the clock counts; in between this host's own clock runs on.
KEEPS = 10.0

#: Folder -> the time there less that of this process's monotonic clock, and when that was found out.
_known: dict[Path, tuple[float | None, float]] = {}


def now(folder: Path) -> float | None:
    """Seconds since the epoch by the clock of the file system of `folder`; None if nothing can be written there."""
    here = time.monotonic()
    ahead, seen = _known.get(folder, (None, float("-inf")))
    if not 0 <= here - seen < KEEPS:
        ahead = _ahead(folder)
        _known[folder] = (ahead, here)
    return None if ahead is None else here + ahead


def _ahead(folder: Path) -> float | None:
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".clock-") as file:
            os.utime(file.fileno())  # as the heart of a claim does: to the server's time, not to one of ours
            return os.fstat(file.fileno()).st_mtime - time.monotonic()
    except OSError:  # a store of somebody else's, or a full disk
        return None
