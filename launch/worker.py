"""The only thing that runs on a node: `python -m launch.worker FOLDER...`, one folder with a node.json for each node.

A worker locks its node, re-verifies the inputs, runs the stage and publishes. It may be killed at any moment: the
next one finds `work/` as it was left, and nothing half in the store. The nodes of one job share what they load.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launch import node as node_file
from launch import provenance
from launch.node import InputSpec, NodeSpec
from stages import artifact, contract
from stages.contract import Context, Input, Resources, StageError
from stages.progress import Progress
from stages.store import ATTEMPTS, LOCK, PROGRESS, Store

#: Written into the node's folder when an attempt fails; `plan` and `run` show it.
ERROR = "error.json"

#: Set by the local launcher: standard input is a pipe from the head, and its end is the end of this worker.
LIFELINE = "LAUNCH_LIFELINE"


def main(folders: list[str]) -> int:
    """Run the nodes one after the other; a failure of one does not stop the next. 1 if any failed."""
    if os.environ.get(LIFELINE):
        threading.Thread(target=_die_with_head, daemon=True).start()
    shared: dict[Any, Any] = {}
    return max([run(Path(folder), shared) for folder in folders], default=0)


def run(folder: Path, shared: dict[Any, Any]) -> int:
    """Run the node of `folder`, unless it is already published. Returns 0 when it is, 1 when it failed."""
    try:
        spec = node_file.read(folder)
        with _locked(folder):
            if Store(Path(spec.store)).find(spec.stage, spec.fingerprint) is None:
                _attempt(spec, folder, shared)
            shutil.rmtree(folder, ignore_errors=True)
    except Exception as error:  # the boundary: every failure is recorded for the head, which shows it
        _record_failure(folder, error)  # first: it frees the space that the log may need on a full disk
        if isinstance(error, StageError):
            print(f"{folder}: {error}", file=sys.stderr, flush=True)
        else:
            traceback.print_exc()
        return 1
    return 0


def _attempt(spec: NodeSpec, folder: Path, shared: dict[Any, Any]) -> None:
    """One attempt at a node: run its stage in a fresh output folder and publish that."""
    store = Store(Path(spec.store))
    output, work = folder / "out", folder / "work"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    work.mkdir(exist_ok=True)
    attempt = _count_attempt(folder)
    continues = _predecessor(spec, store)
    context = Context(
        inputs={kind: _resolve(kind, given, store) for kind, given in spec.inputs.items()},
        work=work,
        output=output,
        resources=Resources(**spec.resources),
        progress=Progress(folder / PROGRESS),
        continues=continues,
        shared=shared,
    )
    started = time.time()
    stage = contract.load(spec.stage)
    if spec.identity["version"] != stage.VERSION:
        raise StageError(f"{spec.stage}: planned at version {spec.identity['version']}, this code is {stage.VERSION}")
    summary = stage.run(stage.Config(**spec.identity["config"]), context)
    record = {
        "fingerprint": spec.fingerprint,
        "identity": spec.identity,
        "label": spec.label,
        "config": spec.identity["config"],
        "inputs": {kind: _trace(given, context.inputs[kind]) for kind, given in spec.inputs.items()},
        "continued_from": None if continues is None else {"value": continues[0], "artifact": continues[1].name},
        "summary": summary,
        "attempts": attempt,
        "started": started,
        "seconds": round(time.time() - started, 3),
        **provenance.collect(context.resources),
    }
    artifact.publish(output, store.final(spec.stage, spec.label, spec.fingerprint), record)


def _resolve(kind: str, given: InputSpec, store: Store) -> Input:
    """Find an input again and verify its record: what was true when the plan was made may not be any more."""
    path = Path(given.path) if given.path else None
    if given.artifact is not None:
        assert given.stage is not None
        path = store.find(given.stage, given.artifact)
        if path is None:
            raise StageError(f"input {kind}: {given.stage} {given.artifact[:10]} has no valid record in {store.root}")
    elif path is not None and not path.exists():
        raise StageError(f"input {kind}: {path} does not exist any more")
    return Input(
        fingerprint=given.fingerprint, path=path, hub=given.hub, revision=given.revision, reading=given.reading
    )


def _predecessor(spec: NodeSpec, store: Store) -> tuple[int, Path] | None:
    """The published artifact with the largest smaller value of `CONTINUES` whose training state is still there."""
    for value, fingerprint in spec.continues:
        folder = store.find(spec.stage, fingerprint)
        if folder is not None and (folder / artifact.STATE).is_dir():
            return value, folder
    return None


def _trace(given: InputSpec, found: Input) -> dict[str, Any]:
    """What a record says of an input: its identity, and where it was for this run."""
    return asdict(given) | {"path": None if found.path is None else str(found.path)}


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the node: a second worker, of another head perhaps, waits here and then finds the record."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o664)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{folder}: another worker has this node; waiting for it", flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _count_attempt(folder: Path) -> int:
    """How many times this node was started, this time included. The failure of the last time is forgotten."""
    (folder / ERROR).unlink(missing_ok=True)
    counter = folder / ATTEMPTS
    try:
        attempt = int(counter.read_text()) + 1
    except (OSError, ValueError):  # the first time, or a full disk cut the file short
        attempt = 1
    counter.write_text(str(attempt))
    return attempt


def _record_failure(folder: Path, error: Exception) -> None:
    """Leave the reason in the node's folder; give back the space of an output that will never be published."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    known = isinstance(error, StageError | OSError | MemoryError)
    message = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        message = f"no space left on the disk of {folder.parent.parent} ({error})"
    with contextlib.suppress(OSError):  # the disk may be full; the log and the exit code still say it
        text = message if known else f"{type(error).__name__}: {message}"
        (folder / ERROR).write_text(json.dumps({"message": text}))


def _die_with_head() -> None:
    """Wait until the head is gone, then end this worker and every process it started."""
    while os.read(0, 1024):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
