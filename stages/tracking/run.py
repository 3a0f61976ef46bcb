"""One run of W&B: opened online or offline, continued where an earlier attempt left it, and never waited for in vain.

What is asked for online goes offline where there is no key, no network, or a server that refuses it; and where an
earlier attempt is offline and not uploaded yet, since its rows would be in nobody's order otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import wandb

from stages.tracking import names, transactions

#: Seconds: until a server answers at all, until it has taken a run, and until it has taken all of it.
ANSWER, OPEN, CLOSE = 5.0, 20.0, 30.0

#: Seconds for what needs no server, on a machine that is very busy.
BUSY = 60.0

#: Seconds that a run may take to be closed by the process of an attempt that was killed, before the next one opens it.
HELD = 30.0

#: Seconds for which no client leaves its log alone, as it writes every 15; and until one that was closed has written.
IDLE, WRITTEN = 60.0, 2.0

#: Entity and project -> why they cannot be online, once that is known in this process.
_refused: dict[str, str] = {}

#: What was said already.
_said: set[str] = set()


class Run:
    """A run that is open. `row` takes the rows of a curve, each step once, whatever attempts came before."""

    def __init__(self, run: Any, reached: int, lock: int) -> None:
        self.wandb = run
        self._log = Path(run.dir).parent / f"run-{run.id}.wandb"
        self._stage = run.job_type  # two stages have curves of the same name, and a panel shows one of them
        self._reached = reached
        self._last: dict[str, int] = {}  # curve -> the last step that was logged here
        self._lock = lock

    @property
    def place(self) -> dict[str, Any]:
        """Where it can be looked at."""
        return {
            "id": self.wandb.id,
            "mode": "offline" if self.wandb.offline else "online",
            "folder": str(Path(self.wandb.dir).parent),
            "url": None if self.wandb.offline else self.wandb.url,
        }

    def row(self, kind: str, row: Mapping[str, float]) -> None:
        """Log a row of the curve `kind`, unless its step was logged by an earlier attempt."""
        step = int(row["step"])
        if step > max(self._reached, self._last.get(kind, -1)):
            self._last[kind] = step
            axes = {name: row[name] for name in ("rollout", "epoch") if name in row}
            curve = self._stage if kind == "train" else kind
            numbers = {f"{curve}/{name}": value for name, value in row.items() if name not in {"step", *axes}}
            self.wandb.log({**axes, **numbers}, step=step)

    def close(self, code: int) -> None:
        """Close it; where the server does not take the rest of it, say how that is uploaded later."""
        try:
            self.wandb.finish(exit_code=code)
            until = time.monotonic() + WRITTEN
            while not transactions.begun(self._log) and time.monotonic() < until:
                time.sleep(0.05)
        except TimeoutError:
            later = f"`wandb sync --include-online {self._log.parent}` uploads it later"
            say(f"{self.wandb.name} is not uploaded whole, the server does not answer any more; {later}")
        except Exception:
            with contextlib.suppress(Exception):
                wandb.teardown()  # its service has ended, and the next run would be told to the same one
            if not transactions.begun(self._log):
                shutil.rmtree(self._log.parent, ignore_errors=True)
            raise
        finally:
            os.close(self._lock)


def opened(root: Path, tracking: Mapping[str, Any], *, id: str, pid: int | None = None, **run: Any) -> Run:
    """Open the run `id` of the store at `root`, or continue it.

    Args:
        tracking: mode, project, entity and group.
        pid: of the process whose use of the machine is measured; None: nothing is measured.
        run: name, job_type, config.
    """
    lock = _locked(root, id)
    remove_unbegun(root, id, idle=0.0)
    earlier = names.logs(root, id)
    why = None if tracking["mode"] == "offline" else _not_online(root, tracking, id)
    mode = "offline" if tracking["mode"] == "offline" or why else "online"
    common = {
        "id": id,
        "project": tracking["project"],
        "entity": tracking["entity"],
        "group": tracking["group"],
        "resume": "allow",
        "dir": str(root),
        **run,
    }
    if mode == "online":
        before = {file.parent for file in earlier}
        try:
            found = wandb.init(mode="online", settings=_settings(pid, offline=False), **common)
            return Run(found, found.starting_step - 1, lock)
        except Exception as error:
            why = _refused[_key(tracking)] = one_line(error)
            wandb.teardown()  # its service would refuse the id now
            for folder in {file.parent for file in names.logs(root, id)} - before:
                shutil.rmtree(folder, ignore_errors=True)
    if why is not None and why not in _said:
        _said.add(why)
        say(f"{run['name']} and what follows is recorded offline, `wandb sync` uploads it later: {why}")
    found = wandb.init(mode="offline", settings=_settings(pid, offline=True), **common)
    return Run(found, max((transactions.reached(file) for file in earlier), default=-1), lock)


def remove_unbegun(root: Path, id: str = "*", idle: float = IDLE) -> None:
    """Remove offline logs without a beginning: `wandb sync` of one uploads none of the others that it is given.

    `idle`: seconds for which nobody has written to them.
    """
    for file in (root / names.FOLDER).glob(f"offline-run-*-{id}/run-{id}.wandb"):
        with contextlib.suppress(OSError):  # somebody else has removed it
            if time.time() - file.stat().st_mtime >= idle and not transactions.begun(file):
                shutil.rmtree(file.parent, ignore_errors=True)


def say(text: str) -> None:
    """One line for whoever reads the log."""
    print(f"W&B: {text}", file=sys.stderr, flush=True)


def _locked(root: Path, id: str) -> int:
    """Wait until nobody else has the run open, for as long as that may take; returns what holds it."""
    folder = root / names.FOLDER / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    # By descriptor, and never through a link: who may write there may have put one.
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    lock = os.open(id, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o664, dir_fd=place)
    os.close(place)
    until = time.monotonic() + HELD
    while time.monotonic() < until:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:  # somebody has it, or the file system has no locks
            time.sleep(0.1)
    return lock


def _settings(pid: int | None, *, offline: bool) -> wandb.Settings:
    """Nothing is captured that the store has: prints are in its logs, code and packages in its records."""
    return wandb.Settings(
        console="off",
        silent=True,
        symlink=False,
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_save_requirements=False,
        x_service_wait=BUSY,
        init_timeout=BUSY if offline else OPEN,
        finish_timeout=BUSY if offline else CLOSE,
        finish_timeout_raises=not offline,
        x_disable_stats=pid is None,
        x_stats_pid=pid or os.getpid(),
        x_stats_track_process_tree=True,
    )


def _not_online(root: Path, tracking: Mapping[str, Any], id: str) -> str | None:
    """Why a run cannot be online, as far as that is known without opening it."""
    if names.unsynced(root, id):
        return "so was an earlier attempt, which is not uploaded yet"
    return _refused.get(_key(tracking)) or unreachable()


def _key(tracking: Mapping[str, Any]) -> str:
    return f"{tracking['entity']}/{tracking['project']}"


@cache
def unreachable() -> str | None:
    """Why the server does not answer; whatever it answers is an answer."""
    server = wandb.setup().settings.base_url
    try:
        urllib.request.urlopen(server, timeout=ANSWER).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        return f"{server} does not answer ({one_line(error)})"
    return None


def one_line(error: Exception) -> str:
    """What an error says, or is."""
    return " ".join(str(error).split())[:300] or type(error).__name__
