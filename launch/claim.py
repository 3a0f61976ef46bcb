"""Claims: who has a node. What keeps two heads, or two people, from running it twice.

A node's claims are files in its folder, numbered: `claim-1.json`, `claim-2.json`, ... The highest number counts. A
claim is taken by creating the next number, which a file system lets only one process do, so that taking over a dead one
is as safe as taking the first. While a worker runs it touches its claim; a claim that nobody has touched for `LEASE`
seconds may be dead, and is dead if its job is (see `launch.standing`).

The token of a claim is in the name of its Slurm job: a head that dies between submitting and writing down the job's id
loses nothing, because the queue knows the token.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

#: Seconds without a touch after which a claim may be dead; a worker touches its claims every `BEAT` seconds.
LEASE, BEAT = 12.0, 3.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of a node.

    Attributes:
        token: names the submission; the same for all nodes of a job, and for all elements of a job array.
        launcher: `slurm`, or `local` for a worker of `host` itself.
        pid: of the local worker.
        job: id of the Slurm job (`12`, or `12_3` for element 3 of a job array), once it is known.
        index: the element of the job array.
        released: given up by its holder; it counts as no claim.
        number: of the claim among those of its node.
    """

    token: str
    launcher: Literal["local", "slurm"]
    user: str = field(default_factory=getpass.getuser)
    host: str = field(default_factory=socket.gethostname)
    pid: int | None = None
    job: str | None = None
    index: int | None = None
    released: bool = False
    number: int = 0


def new_token() -> str:
    """A token that no other submission has."""
    return secrets.token_hex(6)


def read(folder: Path) -> Claim | None:
    """The claim that counts, also if it was released; None if there never was one."""
    while True:
        numbers = [int(file.name[6:-5]) for file in folder.glob("claim-*.json")]
        if not numbers:
            return None
        try:
            return Claim(**json.loads(_file(folder, max(numbers)).read_text()))
        except FileNotFoundError:  # the node was published and its folder removed, just now
            continue


def take(folder: Path, claim: Claim, over: Claim | None) -> Claim | None:
    """Take the node over from the claim that counted, None for the first; None if somebody else was faster."""
    claim = replace(claim, number=1 if over is None else over.number + 1)
    draft = _draft(folder)
    try:
        draft.write_text(json.dumps(asdict(claim)))
        os.link(draft, _file(folder, claim.number))  # fails if it is there: the one exclusive step
    except (FileExistsError, FileNotFoundError):  # taken, or published and its folder removed, just now
        return None
    finally:
        draft.unlink(missing_ok=True)
    return claim


def update(folder: Path, claim: Claim) -> None:
    """Write a claim that one holds again, with more known of it. Nothing happens if the folder is gone: it is done."""
    draft = _draft(folder)
    try:
        draft.write_text(json.dumps(asdict(claim)))
        os.replace(draft, _file(folder, claim.number))
    except FileNotFoundError:
        draft.unlink(missing_ok=True)


def release(folder: Path, claim: Claim) -> None:
    """Give a claim up that one holds."""
    update(folder, replace(claim, released=True))


def holds(folder: Path, token: str) -> bool:
    """Whether the claim that counts is of this submission."""
    claim = read(folder)
    return claim is not None and claim.token == token and not claim.released


def age(folder: Path, claim: Claim) -> float:
    """Seconds since a claim was last touched; infinite if it is gone."""
    try:
        return time.time() - _file(folder, claim.number).stat().st_mtime
    except FileNotFoundError:
        return float("inf")


class Heart:
    """Touches claims for as long as the block lasts."""

    def __init__(self, held: Iterable[tuple[Path, Claim]]) -> None:
        self._files = [_file(folder, claim.number) for folder, claim in held]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            for file in self._files:
                try:
                    os.utime(file)
                except FileNotFoundError:  # published
                    continue
                except OSError:  # a file system that stumbles; the next beat may reach it
                    break


def _draft(folder: Path) -> Path:
    """A file of this call alone: a head and the worker of its job may write the same claim at the same moment."""
    return folder / f".claim.{secrets.token_hex(6)}"


def _file(folder: Path, number: int) -> Path:
    return folder / f"claim-{number}.json"
