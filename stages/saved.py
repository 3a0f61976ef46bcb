"""What a node has saved to continue from, recorded beside its work folder: a restart has to find it again.

A restart that finds no checkpoint where one was recorded would train from the beginning and overwrite hours of work in
silence. Here it stops, and says so.
"""

from __future__ import annotations

import json
import os
from pathlib import Path


class Saved:
    """The last step at which the node of `folder` is known to have saved; None before the first time."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "saved.json"

    @property
    def step(self) -> int | None:
        try:
            return int(json.loads(self._file.read_text())["step"])
        except FileNotFoundError:
            return None

    def record(self, step: int) -> None:
        """Note that a complete checkpoint of `step` is on disk."""
        draft = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        draft.write_text(json.dumps({"step": step}))
        os.replace(draft, self._file)

    def lost(self, found: int | None) -> str | None:
        """What is wrong if a start has found a checkpoint of step `found` (None: none); None if nothing is."""
        recorded = self.step
        if recorded is None or (found is not None and found >= recorded):
            return None
        there = "none is there now" if found is None else f"the last one that is there now is of step {found}"
        folder = self._file.parent
        return f"a checkpoint of step {recorded} was recorded, but {there}; remove {folder} to start from the beginning"
