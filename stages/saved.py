"""What a node has saved to continue from, recorded beside its work folder: a restart has to find it again.

A restart that finds no checkpoint where one was recorded would train from the beginning and overwrite hours of work in
silence. Here it stops, and says so.
"""

from __future__ import annotations

from pathlib import Path

from stages import jsonfile


class Saved:
    """The last step at which the node of `folder` is known to have saved; None before the first time."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "saved.json"

    @property
    def step(self) -> int | None:
        try:
            return self._read()
        except (OSError, ValueError):
            return None

    def _read(self) -> int | None:
        """The step; None if none was recorded.

        Raises:
            OSError, ValueError: one was, and cannot be read.
        """
        try:
            found = jsonfile.read(self._file)
        except FileNotFoundError:
            return None
        step = found.get("step") if isinstance(found, dict) else None
        if not isinstance(step, int):
            raise jsonfile.Spoilt("it names no step")
        return step

    def record(self, step: int) -> None:
        """Note that a complete checkpoint of `step` is on disk."""
        jsonfile.write(self._file, {"step": step})

    def lost(self, found: int | None) -> str | None:
        """What is wrong if a start has found a checkpoint of step `found` (None: none); None if nothing is."""
        # Not the folder: of a node that was taken over, what was taken over would be copied again.
        again = f"remove {self._file.with_name('work')} and {self._file} to start from the beginning"
        try:
            recorded = self._read()
        except (OSError, ValueError) as error:
            return f"{self._file} is spoilt ({error}); {again}"
        if recorded is None or (found is not None and found >= recorded):
            return None
        there = "none is there now" if found is None else f"the last one that is there now is of step {found}"
        return f"a checkpoint of step {recorded} was recorded, but {there}; {again}"
