"""order.json: what a Slurm job is to do, written before it is submitted. The job needs nothing that is written later.

    <store>/jobs/<token>/order.json        the order; beside it what Slurm and submitit write: scripts and early output

An order has one task for each element of a job array (one task if it is no array); a task is the nodes of one job.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages import jsonfile

ORDER = "order.json"


@dataclass(frozen=True, kw_only=True)
class Task:
    """The nodes of one job, by their folders in the store, and the file for what it prints."""

    folders: list[str]
    log: str


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a submission is to do.

    Attributes:
        token: of the claims that were taken for it.
        root: the folder of the code that is to run: everything imported has to lie in it.
        packages: the versions that the submitting head saw; the job refuses others.
        time: minutes that the job has.
        git: the commit and the dirty flag of the code. Equal code has one snapshot, at whatever commit it is.
        servers: machines of each job, the last ones, that do not run the stage but serve those that do.
    """

    token: str
    tasks: list[Task]
    root: str
    packages: dict[str, str]
    time: int
    git: dict[str, Any] | None = None
    servers: int = 0

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ORDER).write_text(json.dumps(asdict(self), indent=1))


def read(folder: Path) -> Order:
    """The order in a job's folder.

    Raises:
        OSError, ValueError: it has none, or one that is spoilt.
    """
    return jsonfile.shaped(Order, folder / ORDER)
