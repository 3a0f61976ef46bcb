"""Progress of a running node: one small JSON file, replaced atomically, that anybody may read at any time."""

from __future__ import annotations

import time
from pathlib import Path

from stages import jsonfile

#: Seconds between two writes: often enough for a live line, rare enough for a shared file system.
INTERVAL = 0.5


class Progress:
    """Writes `{step, total, rate, updated, note, metrics}`; `update` is cheap enough for every training step.

    `rate` is in steps per second since the first update: a node that continues has not made the steps before it.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._first: tuple[int, float] | None = None
        self._written = 0.0

    def update(self, step: int, total: int, *, note: str = "", **metrics: float) -> None:
        """Report that `step` of `total` is done. `metrics` are shown as they are named (loss, reward)."""
        now = time.time()
        first_step, first_time = self._first = self._first or (step, now)
        if now - self._written < INTERVAL and step < total:
            return
        self._written = now
        rate = (step - first_step) / (now - first_time) if step > first_step and now > first_time else 0.0
        line = {"step": step, "total": total, "rate": rate, "updated": now, "note": note, "metrics": metrics}
        jsonfile.write(self._file, line)
