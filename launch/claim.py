"""Claims: who has a node. What keeps two heads, or two people, from running it twice.

A node's claims are files in its folder, numbered: `claim-1.json`, `claim-2.json`, ... The highest number counts. A
claim is taken by creating the next number, which a file system lets only one process do, so that taking over a dead one
is as safe as taking the first. Whose claim it is, is whose file it is; nobody changes the file of another.

While a worker runs it touches its claim; a claim that nobody has touched for `LEASE` seconds may be dead, and is dead
if its job is (see `launch.standing`). It is the file server's clock that counts them: those of hosts differ.

The token of a claim is in the name of its Slurm job: a head that dies between submitting and writing down the job's id
loses nothing, because the queue knows the token.
"""

from __future__ import annotations

import errno
import functools
import getpass
import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from launch import clock
from stages import jsonfile, own, part, spoilt

#: Seconds without a touch after which a claim may be dead; a worker touches its claims every `BEAT` seconds.
LEASE, BEAT = 12.0, 3.0
#: Seconds by which a claim may be younger than now: times of files come in steps.
STEP = 2.0
#: Names of submissions and ids of jobs: they are parts of paths.
_TOKEN, _JOB = re.compile(r"[\w-]{0,64}", re.ASCII), re.compile(r"(\d[\d_+]*)?", re.ASCII)
#: How a file is made: by this call, and for nobody else to write.
_NEW, _MODE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
#: What a file system says that has no hard links.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}

#: Claims whose age cannot be read off -> their time, and when this process first saw it, by its own monotonic clock.
_watched: dict[Path, tuple[int, float]] = {}


@functools.cache
def _boot() -> str | None:
    """What names this run of this machine; two machines may have one host name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of a node.

    Attributes:
        token: names the submission; the same for all nodes of a job, and for all elements of a job array.
        launcher: `slurm`, or `local` for a worker of `host` itself.
        pid: of the local worker.
        job: id of the Slurm job (`12`, or `12_3` for element 3 of a job array), once it is known.
        index: the element of the job array.
        cluster: the name of the Slurm cluster that has the job; None: it was not said.
        boot: names the machine of `host`, from its start to its end.
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
    cluster: str | None = None
    boot: str | None = field(default_factory=_boot)
    released: bool = False
    number: int = 0

    @property
    def here(self) -> bool:
        """Whether it was taken on this machine."""
        return self.host == socket.gethostname() and self.boot in (None, _boot())

    def is_of(self, pid: int) -> bool:
        """Whether it is that of a process that this one has started, whatever this machine is called by now."""
        return self.launcher == "local" and self.pid == pid and self.boot == _boot()

    @property
    def alive(self) -> bool:
        """Whether the local worker's process is there, on a machine that is its own."""
        return self.pid is not None and Path(f"/proc/{self.pid}").exists()

    @property
    def holder(self) -> str:
        """Who that is, for a person."""
        what = f"process {self.pid} of " if self.launcher == "local" and self.pid is not None else ""
        return f"{what}{self.user} on {self.host}"


def new_token() -> str:
    """A token that no other submission has."""
    return secrets.token_hex(6)


def read(folder: Path) -> Claim | None:
    """The claim that counts, also if it was released; None if there never was one."""
    while True:
        number = part.claimed(folder)
        if number is None:
            return None
        file = part.claim(folder, number)
        try:
            return _owned(folder, _valid(jsonfile.shaped(_Written, file, jsonfile.SMALL), number))
        except FileNotFoundError:  # the node was published and its folder removed, just now
            continue
        except (OSError, ValueError) as error:
            spoilt.note(file, error)
            return Claim(token="", launcher="local", user="somebody", host="an unknown host", boot="", number=number)


@dataclass(frozen=True, kw_only=True)
class _Written(Claim):
    """A claim in its file; one of an earlier version does not name the machine."""

    boot: str | None = None


def _valid(claim: Claim, number: int) -> Claim:
    """A claim whose words can be parts of paths and of messages.

    Raises:
        ValueError: one cannot.
    """
    words = (claim.token, claim.user, claim.host, claim.job or "", claim.cluster or "", claim.boot or "")
    if not all(len(word) <= 1024 and word.isprintable() for word in words):
        raise ValueError("a word of it is too long, or not printable")
    if not _TOKEN.fullmatch(claim.token) or not _JOB.fullmatch(claim.job or ""):
        raise ValueError("its token or its job is none")
    if not 0 <= (claim.pid or 0) < 2**31 or not 0 <= (claim.index or 0) < 2**31:
        raise ValueError("its process or its index is none")
    return Claim(**{**asdict(claim), "number": number})


def _owned(folder: Path, claim: Claim) -> Claim:
    """A claim that says it is this user's and is not: whose it really is."""
    if claim.user != getpass.getuser() or is_own(folder, claim):
        return claim
    return replace(claim, user=own.login(part.owner_of(part.claim(folder, claim.number)) or 0))


def is_own(folder: Path, claim: Claim) -> bool:
    """Whether this user may write a claim again; where nobody else can write, everything is this user's."""
    return not part.is_shared(folder) or part.owner_of(part.claim(folder, claim.number)) in (os.geteuid(), None)


def take(folder: Path, claim: Claim, over: Claim | None) -> Claim | None:
    """Take the node over from the claim that counted, None for the first; None if somebody else was faster."""
    claim = replace(claim, number=1 if over is None else over.number + 1)
    draft = _draft(folder)
    try:
        _write(draft, claim)
        _link(draft, part.claim(folder, claim.number))
    except (FileExistsError, FileNotFoundError):  # taken, or published and its folder removed, just now
        return None
    finally:
        draft.unlink(missing_ok=True)
    return claim


def _link(draft: Path, file: Path) -> None:
    """Make `file` of the draft, unless it is there: the one exclusive step."""
    try:
        os.link(draft, file)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Exclusive as well; whoever reads it half takes it for somebody's.
        with open(os.open(file, _NEW, _MODE), "w", encoding="utf-8") as opened:
            opened.write(draft.read_text(encoding="utf-8"))


def update(folder: Path, claim: Claim) -> None:
    """Write a claim that one holds again, with more known of it. Nothing happens if it is gone: the node is done."""
    file, draft = part.claim(folder, claim.number), _draft(folder)
    if not os.path.lexists(file):
        return
    try:
        _write(draft, claim)
        os.replace(draft, file)
    except FileNotFoundError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def release(folder: Path, claim: Claim) -> None:
    """Give a claim up. That of another user is taken over, and given up: its file stays as it is."""
    if is_own(folder, claim):
        update(folder, replace(claim, released=True))
    else:
        take(folder, Claim(token=new_token(), launcher="local", released=True), claim)


def holds(folder: Path, token: str) -> bool:
    """Whether the claim that counts is of this submission."""
    claim = read(folder)
    return claim is not None and claim.token == token and not claim.released


def age(folder: Path, claim: Claim) -> float:
    """Seconds since a claim was last touched; infinite if it is gone.

    Where that cannot be read off (see `dated`) it is for how long this process has seen it untouched.
    """
    seen = _touched(folder, claim)
    if seen is None:
        return float("inf")
    read = _read_age(folder, seen)
    if read is not None:
        return read
    file = part.claim(folder, claim.number)
    if file not in _watched or _watched[file][0] != seen:
        _watched[file] = (seen, time.monotonic())
    return time.monotonic() - _watched[file][1]


def dated(folder: Path, claim: Claim) -> bool:
    """Whether the age of a claim can be read off: not if its time is yet to come, or the store's clock is not known."""
    seen = _touched(folder, claim)
    return seen is None or _read_age(folder, seen) is not None


def _read_age(folder: Path, touched: int) -> float | None:
    now = clock.now(folder.parent.parent)
    if now is None or touched * 1e-9 > now + STEP:
        return None
    return max(0.0, now - touched * 1e-9)


def _touched(folder: Path, claim: Claim) -> int | None:
    """When a claim was last touched, in nanoseconds of the file server's clock; None if it is gone."""
    file = part.claim(folder, claim.number)
    try:
        with jsonfile.opened(file) as stream:  # over NFS what `stat` says may be a minute old
            return os.fstat(stream.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return file.lstat().st_mtime_ns


class Heart:
    """Touches claims for as long as the block lasts."""

    def __init__(self, held: Iterable[tuple[Path, Claim]]) -> None:
        self._files = [part.claim(folder, claim.number) for folder, claim in held]
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
                    os.utime(file, follow_symlinks=False)
                except FileNotFoundError:  # published
                    continue
                except OSError:  # a file system that stumbles; the next beat may reach it
                    break


def _draft(folder: Path) -> Path:
    """A file of this call alone: a head and the worker of its job may write the same claim at the same moment."""
    return folder / f".claim.{secrets.token_hex(6)}"


def _write(draft: Path, claim: Claim) -> None:
    with open(os.open(draft, _NEW, _MODE), "w", encoding="utf-8") as opened:
        opened.write(json.dumps(asdict(claim)))
