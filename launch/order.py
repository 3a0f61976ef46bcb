"""order.json: what a Slurm job is to do, written before it is submitted. The job needs nothing that is written later.

    <store>/users/<login>/jobs/<token>/order.json      beside it what Slurm and submitit write: scripts and early output

An order has one task for each element of a job array (one task if it is no array); a task is the nodes of one job. The
folder is its user's: the job takes no order that anybody else could have written. An earlier version had all orders in
`<store>/jobs`; those that wait there still run the code that was submitted with them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stages import jsonfile, own
from stages.jsonfile import Spoilt

ORDER = "order.json"
#: The folder of the folders of a user's jobs.
JOBS = "jobs"


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
        root: the snapshot of the code that is to run.
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
        """Write it into the folder that `make` has made."""
        with own.alone():
            jsonfile.write(folder / ORDER, asdict(self), indent=1)


def make(store: Path, token: str) -> Path:
    """The new folder of a job of this user.

    Raises:
        NotOwn: a folder above it may be written by others.
        OSError: it cannot be made.
    """
    return own.folder(store, JOBS, token)


def folders(store: Path) -> list[Path]:
    """The folders of everybody's jobs, whether there is an order in them or not."""
    return sorted(folder for place in _places(store) for folder in place.glob("*") if folder.is_dir())


def find(store: Path, token: str) -> Path:
    """The folder of the jobs of a submission, if it has one: first among this user's. To be read as data alone."""
    if re.fullmatch(r"\w+", token):
        for place in _places(store):
            if (place / token).is_dir():
                return place / token
    return store / JOBS / "none"


def _places(store: Path) -> Iterator[Path]:
    """The folders of folders of jobs: this user's, those of others, and that of an earlier version."""
    mine = store / own.USERS / own.login(os.getuid()) / JOBS
    yield mine
    yield from sorted(each for each in store.glob(f"{own.USERS}/*/{JOBS}") if each != mine)
    yield store / JOBS


def store_of(folder: Path) -> Path:
    """The store that a job's folder lies in."""
    return folder.parents[3]


def read(folder: Path) -> Order:
    """The order in a job's folder, whoever has written it.

    Raises:
        OSError: there is none, or it cannot be read.
        Spoilt: it is no order.
    """
    return jsonfile.shaped(Order, folder / ORDER)


def mine(folder: Path) -> Order:
    """The order of a job of this user, which nobody else can have written.

    Raises:
        NotOwn: somebody else can.
        OSError, Spoilt: as `read`.
    """
    plain = jsonfile.parse(own.text(folder / ORDER))
    try:
        given = Order(**{**plain, "tasks": [Task(**task) for task in plain["tasks"]]})
    except (TypeError, KeyError) as error:
        raise Spoilt(f"{folder / ORDER} is no order: {error}") from None
    if given.token != folder.name:
        raise Spoilt(f"{folder / ORDER} is the order of {given.token}")
    return given
