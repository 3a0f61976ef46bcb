"""W&B, as a worker and the head see it: messages to a process beside them, which alone knows W&B.

Nothing here waits for long: a message that is not taken within seconds, or an answer that does not come, ends that
process, and the study goes on without it. Execution only: nothing of it is in any fingerprint.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from launch import sharing
from launch.credentials import masked
from launch.node import NodeSpec
from stages.contract import Interrupted
from stages.own import NotOwn

#: Seconds: for W&B to be loaded (a minute, where the machine is very busy), for a message to be taken, for a run to be
#: closed (it may have to be opened first), and to be closed when the job is about to be ended.
LOADED, TAKEN, CLOSED, STOPPED = 180.0, 30.0, 120.0, 20.0

#: Of the user's environment: what would make another run of this one.
FOREIGN = {
    "WANDB_SERVICE",
    "WANDB_MODE",
    "WANDB_DISABLED",
    "WANDB_DIR",
    "WANDB_PROJECT",
    "WANDB_RUN_ID",
    "WANDB_RUN_GROUP",
    "WANDB_JOB_TYPE",
    "WANDB_NAME",
    "WANDB_RESUME",
    "WANDB_SWEEP_ID",
}

_ROOT = Path(__file__).parent.parent

#: What W&B takes: the modes that a study has, the names of a project as its client checks them, and of an owner.
MODES = ("disabled", "offline", "online")
PROJECT = r"^[^/\\#?%:\x00-\x1f]{1,128}$"
ENTITY = r"^[A-Za-z0-9._-]+$"


@validated(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Tracking:
    """The key `wandb` of the config.

    Attributes:
        mode: `offline` writes files that `wandb sync` uploads later; `online` uploads while a node runs, where there
            is a key and a network, else it is offline; `disabled` is no W&B at all.
        project: of W&B.
        entity: the user or team whose project it is; null for the one of the key.
        weights: whether the weights of checkpoints are uploaded, beside what refers to them.
        generations: problems of each evaluation whose first sample is shown in a table.
    """

    mode: Literal["disabled", "offline", "online"] = "disabled"
    project: Annotated[str, Field(pattern=PROJECT)] = "rejuvenation"
    entity: Annotated[str, Field(pattern=ENTITY)] | None = None
    weights: bool = False
    generations: Annotated[int, Field(ge=0)] = 32

    def group(self, experiment: str) -> dict[str, Any] | None:
        """What node.json says of it; None where it is disabled."""
        return None if self.mode == "disabled" else {**asdict(self), "group": experiment}


class Recorder:
    """The process that talks to W&B. Once it is lost, everything said to it is dropped in silence."""

    def __init__(self, root: Path) -> None:
        """`root` is the store, where W&B's client writes."""
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""
        self._loaded = False
        try:
            sharing.folder(root, "wandb")
        except (OSError, NotOwn) as error:
            print(f"W&B: {error}; the study goes on without it", file=sys.stderr, flush=True)
            return
        with contextlib.suppress(OSError):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stages.tracking.recorder"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=_ROOT,
                env=environment(root),
                start_new_session=True,  # it outlives a worker that is killed by as much as it takes to say so
                umask=sharing.joined(root),  # what W&B writes is the group's to write: a run goes on as another user
            )
        if self._process is not None:
            assert self._process.stdin is not None
            os.set_blocking(self._process.stdin.fileno(), False)

    def tell(self, **message: Any) -> None:
        """Say something that needs no answer."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        line = json.dumps(message).encode() + b"\n"
        until = time.monotonic() + TAKEN
        try:
            while line:
                left = until - time.monotonic()
                if left <= 0 or not select.select([], [process.stdin], [], left)[1]:
                    self._lose("it takes no more messages")
                    return
                with contextlib.suppress(BlockingIOError):
                    line = line[os.write(process.stdin.fileno(), line) :]
        except OSError as error:
            self._lose(str(error))

    def ask(self, patience: float = CLOSED, **message: Any) -> dict[str, Any]:
        """Say something, and wait for the answer; an answer with `error` if none comes in `patience` seconds."""
        self.tell(ask=True, **message)
        if not self._loaded:
            self._loaded = self._line(LOADED) is not None
        line = self._line(patience)
        if line is None:
            return {"error": "W&B is not there"}
        found: dict[str, Any] = json.loads(line)
        return found

    def _line(self, patience: float) -> bytes | None:
        """The next line that it says; None if none comes."""
        until = time.monotonic() + patience
        while self._process is not None and b"\n" not in self._heard:
            assert self._process.stdout is not None
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                self._lose(f"no answer in {patience:.0f} s")
                break
            read = os.read(self._process.stdout.fileno(), 65536)
            if not read:
                self._lose("it has ended")
            self._heard += read
        if self._process is None:
            return None
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    def close(self, patience: float = CLOSED) -> None:
        """End it, after all that was said to it."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            _kill(process)
        process.stdout.close()

    def _lose(self, why: str) -> None:
        print(f"W&B: {why}; the study goes on without it", file=sys.stderr, flush=True)
        process, self._process = self._process, None
        if process is not None:
            _kill(process)


class Followed:
    """A node's run, while the node is worked on. `folder` is where it was published."""

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self.folder: Path | None = None

    def row(self, kind: str, row: Mapping[str, float]) -> None:
        """A row of the curve `kind` of a training, with its `step`, as it is made."""
        if self._recorder is not None:
            self._recorder.tell(do="row", kind=kind, row=dict(row))


@contextlib.contextmanager
def followed(spec: NodeSpec, attempt: int, shared: dict[Any, Any]) -> Iterator[Followed]:
    """The run of a node for as long as it is worked on; how that ends is said there. `shared` is the worker's."""
    if spec.tracking is None:
        yield Followed(None)
        return
    recorder = shared.get(Recorder) or Recorder(Path(spec.store))
    shared[Recorder] = recorder
    recorder.tell(do="begin", node=asdict(spec), attempt=attempt, pid=os.getpid())
    run = Followed(recorder)
    try:
        yield run
    except Interrupted as error:
        recorder.ask(STOPPED, do="end", state="interrupted", message=masked(str(error)))
        raise
    except Exception as error:
        recorder.ask(do="end", state="failed", message=masked(str(error)) or type(error).__name__)
        raise
    recorder.ask(do="end", state="done", folder=str(run.folder))


def environment(root: Path) -> dict[str, str]:
    """That of this process, without another run's, and with W&B's own files in the store instead of the home folder."""
    own = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    path = [str(_ROOT), *filter(None, [own.get("PYTHONPATH")])]
    caches = {f"WANDB_{what}_DIR": str(root / "wandb" / ".client") for what in ("CACHE", "DATA")}
    return {**caches, **own, "PYTHONPATH": os.pathsep.join(path), "WANDB_ERROR_REPORTING": "false"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process with everything it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
