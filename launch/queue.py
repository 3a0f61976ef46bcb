"""The queue of Slurm, as one `squeue` call shows it. No accounting database is needed, and none is asked."""

from __future__ import annotations

import re
import secrets
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from launch.claim import Claim

#: States of a job that is over, as `squeue --states=all` shows it for MinJobAge seconds. All others may still run.
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"}
ENDED |= {"REVOKED", "TIMEOUT"}
#: States of a job that waits; a job that is neither over nor waiting runs.
WAITING = {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
#: Why a job waits that Slurm will cancel instead; and one that it could not start, and holds until somebody lets it go.
_NEVER, _HELD = "DependencyNeverSatisfied", re.compile("launch.failed.requeued.held")

#: Seconds that Slurm gets to answer.
PATIENCE = 30
#: Our jobs are named `<what>~<token>`.
_NAME = re.compile(r".*~([0-9a-f]{12})")


class Unanswered(Exception):
    """Slurm did not say what it has in its queue; nothing is known of any job."""


class Absent(Unanswered):
    """There is no Slurm on this machine: nothing will be known of any job later either."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A job, or one element of a job array, in the queue.

    `reason` is why it waits, or why it ended (`Dependency`, `Priority`, `NodeDown`); `node` is where it runs; `after`:
    which jobs it still waits for (`afterok:12(unfulfilled)`), whatever the reason says.
    """

    id: str
    state: str
    reason: str
    user: str
    node: str
    token: str | None
    after: str = ""

    @property
    def index(self) -> int | None:
        """The element of the job array."""
        _, _, element = self.id.partition("_")
        return int(element) if element else None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def waiting(self) -> bool:
        return self.state in WAITING

    @property
    def in_vain(self) -> bool:
        """Whether it waits for a job that has failed: Slurm is about to cancel it."""
        return self.waiting and self.reason == _NEVER

    @property
    def held(self) -> bool:
        """Whether Slurm has failed to start it, and will not try again."""
        return self.waiting and _HELD.fullmatch(self.reason) is not None


class Queue:
    """All jobs of some users, ended ones included for as long as Slurm remembers them."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = list(entries)
        self._by_token: dict[tuple[str, int | None], list[Entry]] = {}
        for entry in self.entries:
            if entry.token is not None:
                self._by_token.setdefault((entry.token, entry.index), []).append(entry)

    @cached_property
    def cluster(self) -> str | None:
        """The name of this cluster; asked only when a job is not there that was given to a cluster by name."""
        return settings().get("ClusterName")

    @cached_property
    def hides(self) -> bool:
        """Whether this site shows nobody the jobs of others; asked only when a job of somebody else is not there."""
        return "jobs" in settings().get("PrivateData", "").lower()

    def find(self, claim: Claim) -> Entry | None:
        """The job of a claim: of several (the segments of one stage) the one that is furthest from its end.

        By the token, not by the id: a controller that lost its memory hands ids out a second time.
        """
        found = self._of(claim)
        return max(found, key=lambda entry: (not entry.ended, not entry.waiting, _number(entry)), default=None)

    def stuck(self, entry: Entry) -> bool:
        """Whether a job waits for one that Slurm holds, so that it will not start by itself."""
        # Element by element: `aftercorr:12_*` of element 3 is 12_3.
        after = {id.replace("*", str(entry.index)) for id in re.findall(r":([\d_*]+)", entry.after)}
        return any(other.held and other.id in after for other in self.entries)

    def last(self, claim: Claim) -> str | None:
        """The id of the last job of a claim, which ends when all of them have."""
        found = self._of(claim)
        return max(found, key=_number).id if found else claim.job

    def _of(self, claim: Claim) -> list[Entry]:
        """The jobs of a claim. Anybody may give a job of their own the name of another's."""
        named = self._by_token.get((claim.token, claim.index), [])
        return [entry for entry in named if entry.user == claim.user]


def read(users: Iterable[str]) -> Queue:
    """Ask Slurm for the jobs of `users`: one call, whatever their number.

    Raises:
        Unanswered: there is no squeue, or it failed, or gave no answer in time.
    """
    # A job's name is its user's, and may have a newline in it: a line that does not begin with this is no job's.
    mark = secrets.token_hex(4)
    form = f"{mark}|%i|%T|%r|%u|%N|%E|%j"
    # --array shows the elements of an array one by one, also while they wait.
    text = ask(
        "squeue", "--noheader", "--array", "--states=all", f"--user={','.join(sorted(users))}", f"--format={form}"
    )
    entries = []
    for line in text.split("\n"):
        parts = [part.strip() for part in line.split("|", 7)]
        if len(parts) < 8 or parts[0] != mark:  # what some wrapper of a site prints besides
            continue
        _, id, state, reason, user, node, after, name = parts
        named = _NAME.fullmatch(name)
        token = named and named.group(1) or None
        after = after.replace("(null)", "")
        entries.append(Entry(id=id, state=state, reason=reason, user=user, node=node, token=token, after=after))
    return Queue(entries)


def ask(*command: str) -> str:
    """What a command of Slurm prints.

    Raises:
        Unanswered: it failed, or gave no answer in time; with its own words.
        Absent: it is not there.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=True)
    except FileNotFoundError:
        raise Absent(f"{command[0]} is not on the PATH") from None
    except OSError as error:  # too many open files, no memory for another process
        raise Unanswered(f"{command[0]} cannot be started: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Unanswered(f"{command[0]} gave no answer within {PATIENCE} s") from None
    except subprocess.CalledProcessError as error:
        words = " ".join((error.stderr or error.stdout).split())
        raise Unanswered(f"{command[0]}: {words or ending(error.returncode)}") from None
    return done.stdout


def ending(code: int) -> str:
    """How a process ended, by its exit code as Python gives it: `exit code 3`, `signal 9 (SIGKILL)`."""
    number = -code if code < 0 else code - 128  # as a shell gives it
    name = f" ({signal.Signals(number).name})" if number in {each.value for each in signal.Signals} else ""
    return f"exit code {code}{name}" if code >= 0 else f"signal {number}{name}"


def cancel(ids: Iterable[str]) -> None:
    """Cancel jobs. Those that are over already are no error.

    Raises:
        Unanswered: Slurm did not take it.
    """
    ids = sorted(set(ids))
    if ids:
        ask("scancel", "--quiet", *ids)


def try_cancel(ids: Iterable[str]) -> bool:
    """Cancel jobs that would find out by themselves, when they run, that nobody wants them; false if Slurm is deaf."""
    try:
        cancel(ids)
    except Unanswered:
        return False
    return True


def settings() -> dict[str, str]:
    """slurm.conf as the controller has it: `MaxArraySize`, `MinJobAge`, `PreemptMode`, ...

    Raises:
        Unanswered: Slurm did not say.
    """
    pairs = (line.partition("=") for line in ask("scontrol", "show", "config").splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _number(entry: Entry) -> tuple[int, int]:
    main, _, element = entry.id.partition("_")
    return int(main), int(element or 0)
