"""The store: the folder of all artifacts.

    <store>/<stage>/<label>-<fingerprint10>/     a published artifact
    <store>/<stage>/.<fingerprint16>/            a node that is being worked on: node.json, lock, progress.json, work/
    <store>/logs/<stage>/                        what jobs printed, one file an attempt
    <store>/reports/<experiment>/                tables

Artifacts are found by fingerprint alone: labels are for people, and two experiments may name one node differently.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import Any

from stages import artifact

#: Files of a node that is being worked on: held by its worker, its progress, and how often it was started.
LOCK, PROGRESS, ATTEMPTS = "lock", "progress.json", "attempts"


class Store:
    """A store at `root`. Listings are read once; `refresh` forgets them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[str, dict[str, list[Path]]] = {}
        self._jobs: dict[str, set[str]] = {}

    def refresh(self) -> None:
        """Look at the disk again from now on."""
        self._listings.clear()
        self._jobs.clear()

    def find(self, stage: str, fingerprint: str) -> Path | None:
        """The folder of the published artifact with this fingerprint, or None."""
        found = self._published(stage, fingerprint)
        return None if found is None else found[0]

    def record(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """The record of the published artifact with this fingerprint, or None."""
        found = self._published(stage, fingerprint)
        return None if found is None else found[1]

    def damaged(self, stage: str, fingerprint: str) -> Path | None:
        """A folder that has the name of this artifact, but no valid record."""
        named = self._listing(stage).get(fingerprint[:10], [])
        return next((folder for folder in named if artifact.read(folder) is None), None)

    def records(self, stage: str) -> list[dict[str, Any]]:
        """The valid records of a stage, in the order of their folders' names."""
        folders = sorted(folder for named in self._listing(stage).values() for folder in named)
        return [record for folder in folders if (record := artifact.read(folder)) is not None]

    def final(self, stage: str, label: str, fingerprint: str) -> Path:
        """Where the artifact is published, if it is this caller that publishes it."""
        safe = re.sub(r"[^A-Za-z0-9.+_-]", "_", label).lstrip(".")
        return self.root / stage / f"{safe}-{fingerprint[:10]}"

    def job(self, stage: str, fingerprint: str) -> Path:
        """The folder of a node that is being worked on; it exists until the node is published."""
        return self.root / stage / f".{fingerprint[:16]}"

    def unfinished(self, stage: str, fingerprint: str) -> bool:
        """Whether `job` was there when the stage was listed: no file of it needs to be opened if it was not."""
        self._listing(stage)
        return f".{fingerprint[:16]}" in self._jobs[stage]

    def logs(self, stage: str) -> Path:
        return self.root / "logs" / stage

    def reports(self, experiment: str) -> Path:
        return self.root / "reports" / experiment

    def running(self, stage: str, fingerprint: str) -> bool:
        """Whether a worker holds the node's lock right now. Changes nothing."""
        try:
            descriptor = os.open(self.job(stage, fingerprint) / LOCK, os.O_RDONLY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _published(self, stage: str, fingerprint: str) -> tuple[Path, dict[str, Any]] | None:
        for folder in self._listing(stage).get(fingerprint[:10], []):
            record = artifact.read(folder)
            if record is not None and record["fingerprint"] == fingerprint:
                return folder, record
        return None

    def _listing(self, stage: str) -> dict[str, list[Path]]:
        if stage not in self._listings:
            listing: dict[str, list[Path]] = {}
            jobs: set[str] = set()
            folder = self.root / stage
            for entry in os.scandir(folder) if folder.is_dir() else ():
                if entry.name.startswith("."):
                    jobs.add(entry.name)
                elif entry.is_dir():
                    listing.setdefault(entry.name[-10:], []).append(folder / entry.name)
            self._listings[stage], self._jobs[stage] = listing, jobs
        return self._listings[stage]
