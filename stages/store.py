"""The store: the folder of all artifacts.

    <store>/<stage>/<label>-<fingerprint10>/     a published artifact
    <store>/<stage>/.<fingerprint16>/            a node that is being worked on: see `stages.part`
    <store>/logs/<stage>/                        what jobs printed, one file an attempt
    <store>/reports/<experiment>/                tables
    <store>/wandb/                               what W&B's client writes
    <store>/.user-<uid>/                         parts of nodes whose folders others have made (see `stages.part`)
    <store>/users/<login>/                       what one user alone may write (see `stages.own`): code, orders
    <store>/.sources.json, .records-1.json       memories: may be deleted at any time

Artifacts are found by fingerprint alone: labels are for people, and two experiments may name one node differently.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from stages import artifact, jsonfile, own, part, spoilt
from stages.own import NotOwn

#: Files of a node that is being worked on: held by its worker, and its progress.
LOCK, PROGRESS = "lock", "progress.json"

#: What a file system says that has no file locks (Lustre without `-o flock`, NFS without its lock daemon).
LOCKLESS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}

#: Where it is remembered what valid records say. What makes one valid may change with the schema.
RECORDS = f".records-{artifact.SCHEMA}.json"


class Memory:
    """What was found out about files once, kept in `file` for the next time. Lost, or raced, it is found out again.

    A key has to name the state of the file (see `stamp`), so that what is remembered of it is true or never asked for.
    In a store that others may write, where `file` may be somebody else's, this user has another one in its own folder.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._mine = file.parent / own.USERS / own.login(os.getuid()) / file.name
        self._known: dict[str, Any] = {**_read_object(file), **_read_object(self._mine)}
        self._fresh: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """What is remembered under `key`, or None."""
        return self._known.get(key)

    def put(self, key: str, value: Any) -> None:
        """Remember a JSON value; `keep` writes it down."""
        self._known[key] = self._fresh[key] = value

    def keep(self) -> None:
        """Write down what is new, if that is possible: beside what others wrote since, whole or not at all."""
        if not self._fresh or not self._file.parent.is_dir():
            return
        with contextlib.suppress(OSError, NotOwn):  # a full disk, or somebody else's store
            try:
                jsonfile.write(self._file, {**_read_object(self._file), **self._fresh})
            except PermissionError:
                own.folder(self._file.parent)
                jsonfile.write(self._mine, {**_read_object(self._mine), **self._fresh})
            self._fresh.clear()


def stamp(seen: os.stat_result) -> str:
    """The state of a file: when its bytes change, so does this."""
    return f"{seen.st_size}:{seen.st_mtime_ns}:{seen.st_ino}"


@dataclass
class _Listing:
    """The folder of a stage at one look: what is published, by the end of its name, and what is being worked on.

    `closed`: this user may not list it.
    """

    published: dict[str, list[str]] = field(default_factory=dict)
    jobs: set[str] = field(default_factory=set)
    closed: bool = False


class Store:
    """A store at `root`. Listings are read once; `refresh` forgets them.

    What is published in a store of `reads` counts as published here, if it is not at `root`. It is read where it lies,
    and nothing is written there: what its records say is remembered by the `reader`, the store at `root`.
    """

    def __init__(self, root: Path, reads: Iterable[Path] = (), *, reader: Store | None = None) -> None:
        self.root = root
        self.reads = [Store(each, reader=self) for each in reads]
        self._reader = reader
        self._listings: dict[str, _Listing] = {}

    def refresh(self) -> None:
        """Look at the disk again from now on."""
        for each in (self, *self.reads):
            each._listings.clear()

    @property
    def closed(self) -> list[Path]:
        """Folders of stages, of those that were looked at, that this user may not list."""
        return [
            each.root / stage
            for each in (self, *self.reads)
            for stage, listing in each._listings.items()
            if listing.closed
        ]

    def remember(self) -> None:
        """Keep what valid records say, so that the next plan need not read those again that have not changed."""
        self._records.keep()

    def find(self, stage: str, fingerprint: str) -> Path | None:
        """The folder of the published artifact with this fingerprint, or None."""
        found = self._found(stage, fingerprint)
        return None if found is None else found[0].root / found[1]

    def record(self, stage: str, fingerprint: str) -> dict[str, Any] | None:
        """The record of the published artifact with this fingerprint, or None."""
        folder = self.find(stage, fingerprint)
        return None if folder is None else artifact.read(folder)

    def code(self, stage: str, fingerprint: str) -> str | None:
        """The digest of the code that made a published artifact; None if its record has none."""
        found = self._found(stage, fingerprint)
        said = None if found is None else found[0]._said(found[1])
        code: str | None = None if said is None else said["code"]
        return code

    def damaged(self, stage: str, fingerprint: str) -> Path | None:
        """A folder that has the name of this artifact, but no valid record."""
        named = self._listing(stage).published.get(fingerprint[:10], ())
        return next((self.root / stage / name for name in named if self._fingerprint(f"{stage}/{name}") is None), None)

    def records(self, stage: str) -> list[dict[str, Any]]:
        """The valid records of a stage, in the order of their folders' names."""
        names = sorted(name for named in self._listing(stage).published.values() for name in named)
        return [record for name in names if (record := artifact.read(self.root / stage / name)) is not None]

    def recent(self, stage: str, most: int) -> list[tuple[Path, dict[str, Any]]]:
        """The newest artifacts of a stage, at most so many: folder and valid record."""
        folders = [self.root / stage / name for named in self._listing(stage).published.values() for name in named]
        newest = sorted(folders, key=_modified, reverse=True)[:most]
        return [(folder, record) for folder in newest if (record := artifact.read(folder)) is not None]

    def final(self, stage: str, label: str, fingerprint: str) -> Path:
        """Where the artifact is published, if it is this caller that publishes it."""
        safe = re.sub(r"[^A-Za-z0-9.+_-]", "_", label).lstrip(".")
        return self.root / stage / f"{safe}-{fingerprint[:10]}"

    def job(self, stage: str, fingerprint: str) -> Path:
        """The folder of a node that is being worked on; it exists until the node is published."""
        return self.root / stage / f".{fingerprint[:16]}"

    def attempt(self, stage: str, fingerprint: str) -> Path:
        """The folder of what became of the node's last attempt, whoever made it."""
        return part.last(self.job(stage, fingerprint))

    def unfinished(self, stage: str, fingerprint: str) -> bool:
        """Whether `job` was there when the stage was listed: no file of it needs to be opened if it was not."""
        return f".{fingerprint[:16]}" in self._listing(stage).jobs

    def logs(self, stage: str) -> Path:
        return self.root / "logs" / stage

    def reports(self, experiment: str) -> Path:
        return self.root / "reports" / experiment

    def running(self, stage: str, fingerprint: str) -> bool | None:
        """Whether a worker holds a lock of the node right now; None where there are no locks. Changes nothing."""
        states = (is_locked(each / LOCK) for each in part.every(self.job(stage, fingerprint)))
        return next((state for state in states if state is not False), False)

    @cached_property
    def _records(self) -> Memory:
        return Memory(self.root / RECORDS) if self._reader is None else self._reader._records

    def _found(self, stage: str, fingerprint: str) -> tuple[Store, str] | None:
        """The store that has a published artifact, and the artifact's folder in it."""
        for store in (self, *self.reads):
            for name in store._listing(stage).published.get(fingerprint[:10], ()):
                if store._fingerprint(f"{stage}/{name}") == fingerprint:
                    return store, f"{stage}/{name}"
        return None

    def _fingerprint(self, folder: str) -> str | None:
        """The fingerprint of the artifact in a folder of the store, None if it has no valid record."""
        said = self._said(folder)
        fingerprint: str | None = None if said is None else said["fingerprint"]
        return fingerprint

    def _said(self, folder: str) -> dict[str, Any] | None:
        """Fingerprint, sizes and code that a valid record says.

        That is remembered; that it is the same record, and every output still there, is seen each time.
        """
        place = f"{self.root}/{folder}"
        try:
            key = f"{folder if self._reader is None else place}:{stamp(os.lstat(f'{place}/{artifact.RECORD}'))}"
        except OSError as error:
            spoilt.note(f"{place}/{artifact.RECORD}", _missing(error, place))
            return None
        known = self._records.get(key)
        if not _is_said(known):
            record = artifact.read(Path(place))
            if record is None:
                return None
            sizes = {output["path"]: output["size"] for output in record["outputs"]}
            known = {"fingerprint": record["fingerprint"], "sizes": sizes, "code": _digest(record)}
            self._records.put(key, known)
            return known
        found: dict[str, Any] = known
        if why := artifact.lacking(place, found["sizes"]):
            spoilt.note(f"{place}/{artifact.RECORD}", why)
            return None
        return found

    def _listing(self, stage: str) -> _Listing:
        if stage not in self._listings:
            self._listings[stage] = listing = _Listing()
            for entry in self._entries(stage, listing):
                if entry.name.startswith("."):
                    listing.jobs.add(entry.name)
                elif _is_folder(entry):
                    listing.published.setdefault(entry.name[-10:], []).append(entry.name)
        return self._listings[stage]

    def _entries(self, stage: str, listing: _Listing) -> Iterator[os.DirEntry[str]]:
        """What lies in the folder of a stage; nothing if there is none, or none that this user may list."""
        try:
            with os.scandir(self.root / stage) as entries:
                yield from entries
        except PermissionError:
            listing.closed = True
        except OSError as error:
            spoilt.note(self.root / stage, error)


def _missing(error: OSError, folder: str) -> object:
    """Why a record cannot be looked at; that it is missing, if its folder is there."""
    return "it is missing" if isinstance(error, FileNotFoundError) and os.path.isdir(folder) else error


def _modified(folder: Path) -> float:
    """When a folder was modified; 0 of one that has gone."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an artifact may be there; else it is noted, if it is called like one."""
    try:
        if entry.is_dir():
            return True
        why: object = "it is no folder"
    except OSError as error:  # a link to itself
        why = error
    if re.fullmatch(r".*-[0-9a-f]{10}", entry.name, re.DOTALL):
        spoilt.note(entry.path, why)
    return False


def is_locked(file: Path) -> bool | None:
    """Whether somebody holds a lock right now; None where there are no locks. Changes nothing."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return None if error.errno in LOCKLESS else True
    finally:
        os.close(descriptor)
    return False


def _is_said(known: Any) -> bool:
    """Whether that is what `Store` remembers of a record; an earlier version did not remember its code."""
    if not isinstance(known, dict) or "code" not in known or not isinstance(known.get("fingerprint"), str):
        return False
    sizes = known.get("sizes")
    return isinstance(sizes, dict) and all(isinstance(size, int) for size in sizes.values())


def _digest(record: dict[str, Any]) -> str | None:
    """The digest of the code in a record; those of an earlier version have none."""
    code = record.get("code")
    found = code.get("digest") if isinstance(code, dict) else None
    return found if isinstance(found, str) else None


def _read_object(file: Path) -> dict[str, Any]:
    """The JSON object of a file; empty if there is none, none that can be read, or none that is believed.

    Believed are this user, the owner of the folder and root: another member of the group could say that a file which
    was changed is as it was.
    """
    try:
        believed = file.lstat().st_uid in (0, os.geteuid(), file.parent.stat().st_uid)
    except OSError:
        return {}
    return (jsonfile.found(file, jsonfile.LARGEST) or {}) if believed else {}
