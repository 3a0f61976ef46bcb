"""Notices: one message at the first failure of a study, and one at its end, whoever is there to send it.

    <store>/runs/<user>/notices/<study>-<n>/study.json    what the study is, and what of it had failed before
    <store>/runs/<user>/notices/<study>-<n>/failure       that message is being sent, or `arrived`
    <store>/runs/<user>/notices/<study>-<n>/end           the same

Where the head stays, it sends. Where it has gone, the jobs do: each looks at the study when a node of it has ended, and
the last one sees its end. Only one process can create a marker, so that a message is sent once; the marker of a message
that surely did not arrive is removed, for whoever comes next. No file has the URL.
"""

from __future__ import annotations

import getpass
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from launch import credentials, escape, failure, webhook
from launch.webhook import PATIENCE, Sending, Unsent, Unusable
from stages import jsonfile
from stages.store import Store

STUDY = "study.json"
#: The two events; each is the name of its marker.
FAILURE, END = "failure", "end"
ARRIVED = "arrived"

#: Characters of a reason that a message has.
LONGEST = 500


@dataclass(frozen=True, kw_only=True)
class Member:
    """A node of a study. `needs` are fingerprints; `stale` is the time of the failure that it had before, if any."""

    name: str
    stage: str
    fingerprint: str
    needs: list[str]
    stale: int | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a notice is about. `words` are those of a command line about it, behind the verb; `started` as `time.time`.

    `nodes` are in the order of the plan: what is needed comes before what needs it. `reads` are the roots of the stores
    of others whose artifacts count.
    """

    experiment: str
    words: str
    nodes: list[Member]
    started: float = field(default_factory=time.time)
    reads: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Without what nobody uses, as earlier code reads it.
        plain = {key: value for key, value in asdict(self).items() if key != "reads" or value}
        jsonfile.write(folder / STUDY, plain, separators=(",", ":"))


def read(folder: Path) -> Study:
    """The study in the folder of a notice.

    Raises:
        OSError, ValueError: it has none, or one that is spoilt.
    """
    return jsonfile.shaped(Study, folder / STUDY)


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What became of the nodes of a study so far. `failed` has the reason of each that did; `open` ones may yet end."""

    done: int
    failed: dict[str, str]
    blocked: int
    open: int


def ends(study: Study, store: Store) -> Ends:
    """What became of the nodes, by what workers have left in the store."""
    store.refresh()
    done = 0
    failed: dict[str, str] = {}
    lost: set[str] = set()
    for node in study.nodes:
        if store.find(node.stage, node.fingerprint) is not None:
            done += 1
            continue
        folder = store.attempt(node.stage, node.fingerprint)
        if failed_at(folder) not in (None, node.stale) and not failure.again(folder):
            failed[node.name] = "; ".join(failure.messages(folder))
            lost.add(node.fingerprint)
        elif not lost.isdisjoint(node.needs):
            lost.add(node.fingerprint)
    blocked = len(lost) - len(failed)
    return Ends(done=done, failed=failed, blocked=blocked, open=len(study.nodes) - done - len(lost))


def failed_at(folder: Path) -> int | None:
    """When a node's last attempt left the reason of its failure, in nanoseconds; None if it left none."""
    try:
        return (folder / failure.ERROR).stat().st_mtime_ns
    except OSError:
        return None


@dataclass(frozen=True)
class Notice:
    """The notice of a study, in its folder. `waits`: seconds to wait for a message that another process is sending."""

    folder: Path
    study: Study
    sending: Sending
    waits: float = 0.0

    def failed(self, found: Ends) -> None:
        """Say that a node failed, if nobody has yet: the first one of the plan that did."""
        self.sending.start(lambda: self._send(FAILURE, found, ""))

    def ended(self, found: Ends, reason: str = "") -> None:
        """Say that the study is over, if nobody has yet; with a reason if that is not because all is done that can."""
        self.sending.start(lambda: self._send(END, found, reason))

    def look(self, store: Store) -> None:
        """Look at what became of the nodes, and say what there is to say of it."""
        found = ends(self.study, store)
        if found.failed:
            self.failed(found)
        if found.open == 0:
            self.ended(found)

    def _send(self, event: str, found: Ends, reason: str) -> None:
        to = webhook.url()
        if to is None or not self._is_mine(self.folder / event):
            return
        try:
            webhook.post(_message(event, self.study, found, reason), to)
        except Unsent as error:
            if not error.heard:
                (self.folder / event).unlink(missing_ok=True)
            raise
        (self.folder / event).write_text(ARRIVED)

    def _is_mine(self, marker: Path) -> bool:
        """Whether it is for this process to send the message: no other has, or is about to."""
        deadline = time.monotonic() + self.waits
        while True:
            try:
                os.close(os.open(marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o664))
                return True
            except FileExistsError:
                if time.monotonic() >= deadline or marker.is_file() and marker.read_text() == ARRIVED:
                    return False
            time.sleep(0.2)


class Lookout:
    """What a job looks at when a node has ended: the notices of its user's studies that have the node."""

    def __init__(self, store: Path) -> None:
        self._store = Store(store)
        self._sending = Sending()
        try:
            self._wanted = webhook.url() is not None
        except Unusable as error:
            print(error, file=sys.stderr, flush=True)
            self._wanted = False

    def look(self, node: Path) -> None:
        """Say what there is to say now that this node, by its folder, has ended. Nothing here fails the job."""
        for folder, study in self._of(node.name.removeprefix(".")) if self._wanted else ():
            Notice(folder, study, self._sending).look(Store(self._store.root, map(Path, study.reads)))

    def finish(self) -> None:
        """Wait for what is being sent."""
        self._sending.finish(PATIENCE + 1)

    def _of(self, fingerprint: str) -> Iterator[tuple[Path, Study]]:
        for file in folder_of(self._store).glob(f"*/{STUDY}"):
            try:
                study = read(file.parent)
            except (OSError, ValueError, TypeError, KeyError):  # of another version, or removed just now
                continue
            if any(each.fingerprint.startswith(fingerprint) for each in study.nodes):
                yield file.parent, study


def folder_of(store: Store) -> Path:
    """The folder of this user's notices."""
    return store.root / "runs" / getpass.getuser() / "notices"


def _message(event: str, study: Study, found: Ends, reason: str) -> dict[str, Any]:
    """A message: `text` for people, the other fields for scripts."""
    node, why = next(iter(found.failed.items()), (None, None))
    reason = credentials.masked(" ".join((reason or why or "").split()))[:LONGEST]
    look = "report" if node is None else f"logs {shlex.quote(node)}"
    command = credentials.masked(f"python -m orchestrator {look} {study.words}")
    seconds = round(time.time() - study.started)
    counts = f"{found.done} of {len(study.nodes)} done, {len(found.failed)} failed, {found.blocked} blocked"
    said = f"{node} failed: {reason}" if event == FAILURE else f"ended{f' ({reason})' if reason else ''}"
    host = socket.gethostname()
    return {
        "text": escape.message(f"{study.experiment}: {said}; {counts}, after {seconds} s on {host}. Next: {command}"),
        "event": event,
        "experiment": study.experiment,
        "node": node,
        "reason": reason or None,
        "done": found.done,
        "failed": len(found.failed),
        "blocked": found.blocked,
        "total": len(study.nodes),
        "seconds": seconds,
        "host": host,
        "user": getpass.getuser(),
        "command": command,
    }
