"""What runs on a node: `python -m launch.worker FOLDER...`, one folder with a node.json for each node.

A worker claims and locks its node, re-verifies the inputs, runs the stage and publishes. It may be killed at any
moment: the next one finds `work/` as it was left, and nothing half in the store. The nodes of one job share what they
load. It writes into its user's part of a node's folder alone (see `stages.part`).

On Slurm it is called by `launch.task`, with the claim that was taken for it when it was submitted.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from launch import (
    cause,
    exhaustion,
    failure,
    hold,
    inputs,
    predecessors,
    provenance,
    rendezvous,
    sharing,
    stage_code,
    takeover,
    tracking,
)
from launch import claim as claims
from launch import node as node_file
from launch.credentials import masked
from launch.escape import visible
from launch.exhaustion import Mark
from launch.hold import Superseded
from launch.node import NodeSpec
from launch.rendezvous import ALONE, Meeting
from launch.takeover import WORK
from launch.tracking import Followed
from stages import artifact, contract, jsonfile, meeting_place, part
from stages.contract import Context, Interrupted, Lost, Resources, StageError
from stages.own import NotOwn
from stages.part import ATTEMPTS
from stages.progress import Progress
from stages.store import PROGRESS, Store

#: Folder of a node that is being worked on: what will be published.
OUT = "out"

#: Set by the local launcher: standard input is a pipe from the head, and its end is the end of this worker.
LIFELINE = "LAUNCH_LIFELINE"

#: What torch.distributed says, over Gloo or NCCL, and a socket, when the process at the other end has ended.
_GONE = re.compile(r"\bgloo\b|\bNCCL\b|Connection (closed|reset) by peer|Broken pipe", re.IGNORECASE)


#: What is told in its own words: a person is to mend it.
_TOLD = (StageError, Superseded, NotOwn)


@dataclass(frozen=True, kw_only=True)
class Post:
    """How a worker came to its nodes.

    Attributes:
        token: of the claim that was taken for it; None for a worker that takes its claims itself.
        stopping: whether it was asked to save and stop.
        meeting: of the processes of a DISTRIBUTED stage. Rank 0 claims, locks and publishes, and comes to it when the
            folders are ready for the others.
        retry: called when the node was lost and is to be tried again, by a process that is about to end.
        failed: called when it was given up as hung, by a process that is about to end.
        git: the state of the code when it was submitted; None if that is the code that runs.
    """

    token: str | None = None
    stopping: Callable[[], bool] = lambda: False
    meeting: Meeting = ALONE
    retry: Callable[[], None] = lambda: None
    failed: Callable[[], None] = lambda: None
    git: dict[str, Any] | None = None

    @property
    def leads(self) -> bool:
        return self.meeting.rank == 0

    @property
    def many(self) -> bool:
        return self.meeting.world + self.meeting.servers > 1


def main(folders: list[str]) -> int:
    """Run the nodes one after the other; a failure of one does not stop the next. 1 if any failed."""
    if os.environ.get(LIFELINE):
        threading.Thread(target=die_with_head, daemon=True).start()
    post = Post(meeting=rendezvous.of_ranks())
    shared: dict[Any, Any] = {}
    return max([run(Path(folder), shared, post) for folder in folders], default=0)


def run(folder: Path, shared: dict[Any, Any], post: Post = Post()) -> int:  # noqa: B008 (frozen)
    """Run the node of `folder`, unless it is already published. Returns 0 when it is, 1 when it failed.

    Raises:
        Interrupted: it was asked to stop, and has saved what it had, or failed after it was asked.
    """
    with sharing.closed(folder.parent.parent):
        return _run(folder, shared, post)


def _run(folder: Path, shared: dict[Any, Any], post: Post) -> int:
    begun = exhaustion.mark(exhaustion.own_log())
    try:
        if not (part.mine(folder) / node_file.NODE).is_file() and _published(folder):
            return 0
        spec = node_file.own(folder)
        if not post.leads:
            listener = post.meeting(folder)
            if listener is not None:
                _run_stage(spec, folder, shared, post, listener)
            return 0
        with hold.held(folder, spec, post.token) as claim:
            if claim is not None and Store(Path(spec.store)).find(spec.stage, spec.fingerprint) is None:
                takeover.adopt(folder, claim.number)
                _attempt(spec, folder, shared, replace(post, token=claim.token))
            _remove(folder)
    except Interrupted:
        raise
    except Exception as error:  # the boundary: every failure is recorded for the head, which shows it
        again = False
        if not isinstance(error, Superseded | NotOwn):
            if post.stopping() and _saves(folder):  # what a stage uses is being ended around it
                _print(folder, error)
                raise Interrupted(_message(folder, error, post, begun)[0]) from error
            again = _record_failure(folder, error, post, begun)  # first: it frees the space that the log may need
        _print(folder, error)
        if again:
            post.retry()
        return 1
    return 0


def _print(folder: Path, error: Exception) -> None:
    """Print a failure: with where it was raised, unless a person is to mend what it says."""
    told = cause.of(error, folder.parent.parent) or (str(error) if isinstance(error, _TOLD) else None)
    if told is not None:
        print(visible(masked(f"{folder}: {told}")), file=sys.stderr, flush=True)
    else:
        print(visible(masked("".join(traceback.format_exception(error)))), end="", file=sys.stderr, flush=True)


def _saves(folder: Path) -> bool:
    """Whether the node's stage saves when it is asked to stop."""
    try:
        return bool(getattr(contract.load(node_file.own(folder).stage), "SAVES", False))
    except Exception:  # it cannot even be read; then nothing is saved
        return False


def _remove(folder: Path) -> None:
    """Remove a node's folder, also if its head writes down the job's id in there at this very moment.

    What others have in it stays; nobody takes it for a node that is being worked on, because that is published.
    """
    meeting_place.clear(folder)
    for _ in range(3):
        part.remove(folder)


def _attempt(spec: NodeSpec, folder: Path, shared: dict[Any, Any], post: Post) -> None:
    """One attempt at a node: run its stage in a fresh output folder and publish that."""
    mine = part.make(folder)
    shutil.rmtree(mine / OUT, ignore_errors=True)
    (mine / OUT).mkdir()
    (mine / WORK).mkdir(exist_ok=True)
    attempt = _count_attempt(mine)
    with tracking.followed(spec, attempt, shared) as run:
        run.folder = _publish_run(spec, folder, shared, post, attempt=attempt, run=run)


def _publish_run(
    spec: NodeSpec, folder: Path, shared: dict[Any, Any], post: Post, *, attempt: int, run: Followed
) -> Path:
    """Run the stage of a node whose folders are ready; returns where it is published."""
    inputs.check_sources(spec)
    listener = post.meeting(folder) if post.many else None
    code = stage_code.of(spec.stage, Path(spec.store))  # now: it may be edited while this runs
    started = time.time()
    try:
        summary, context = _run_stage(spec, folder, shared, post, listener, run)
    finally:  # in a shared store somebody else may go on from what is there
        for each in (WORK, OUT):
            sharing.hand_over(part.mine(folder) / each, Path(spec.store))
    record = {
        "fingerprint": spec.fingerprint,
        "identity": spec.identity,
        "label": spec.label,
        "config": spec.identity["config"],
        "inputs": {kind: inputs.trace(given, context.inputs[kind]) for kind, given in spec.inputs.items()},
        "continued_from": predecessors.trace(context),
        "summary": summary,
        "attempts": attempt,
        "started": started,
        "seconds": round(time.time() - started, 3),
        "code": code.as_json(),
        **provenance.collect(context.resources),
        **({} if post.git is None else {"git": post.git}),
    }
    if post.token is not None and not claims.holds(folder, post.token):
        raise Superseded("somebody else has taken this node over; what was made here is not published")
    store = Store(Path(spec.store))
    final = store.final(spec.stage, spec.label, spec.fingerprint)
    final = artifact.publish(part.mine(folder) / OUT, final, record)
    predecessors.supersede(spec, folder)
    return final


def _run_stage(
    spec: NodeSpec,
    folder: Path,
    shared: dict[Any, Any],
    post: Post,
    listener: int | None,
    run: Followed = Followed(None),  # noqa: B008 (of a rank that leaves it to rank 0)
) -> tuple[dict[str, Any], Context]:
    """Verify what the stage needs, and run it, or serve those that do."""
    meeting = post.meeting
    serves = meeting.rank >= meeting.world
    inputs_from, mine = spec.inputs_from, part.mine(folder)
    context = Context(
        inputs={kind: inputs.resolve(kind, given, inputs_from) for kind, given in spec.inputs.items()},
        node=folder,
        work=mine / WORK,
        output=mine / OUT,
        resources=Resources(**spec.resources),
        progress=Progress(mine / PROGRESS),
        log=run.row,
        continues=predecessors.find(spec, Store(Path(spec.store))),
        shared=shared,
        stopping=post.stopping,
        abandon=lambda message: _abandon(folder, message, post),
        rank=meeting.rank - (meeting.world if serves else 0),
        world=meeting.world,
        local_rank=meeting.local_rank,
        listener=listener if meeting.rank == 0 else None,
        session=meeting.name,
        servers=meeting.servers,
    )
    stage = contract.load(spec.stage)
    if spec.identity["version"] != stage.VERSION:
        raise StageError(f"{spec.stage}: planned at version {spec.identity['version']}, this code is {stage.VERSION}")
    config = stage.Config(**spec.identity["config"])
    if serves:
        if meeting.local_rank == 0:  # one process has all GPUs of its machine
            stage.serve(config, replace(context, rank=context.rank // meeting.local_world))
        return {}, context
    return stage.run(config, context), context


def _published(folder: Path) -> bool:
    """Whether a node's folder is not there because the node is published: its beginning is in the artifact's name."""
    begin = folder.name.lstrip(".")[:10]
    return any(artifact.read(found) is not None for found in folder.parent.glob(f"[!.]*-{begin}"))


def _count_attempt(mine: Path) -> int:
    """How many times this node was started, this time included. The failure of the last time is forgotten."""
    (mine / failure.ERROR).unlink(missing_ok=True)
    try:
        attempt = int(jsonfile.text(mine / ATTEMPTS)) + 1
    except (OSError, ValueError):  # the first time, or a full disk cut the file short
        attempt = 1
    jsonfile.write(mine / ATTEMPTS, attempt)
    return attempt


def _abandon(folder: Path, message: str, post: Post) -> None:
    """End this process at once, from whichever thread found that it hangs; the others of the stage end with it."""
    print(visible(f"{folder}: {message}"), file=sys.stderr, flush=True)
    mine = part.mine(folder)
    with contextlib.suppress(OSError):
        if not failure.failed(mine):
            (post.retry if failure.leave_lost(mine, message) else post.failed)()
    os._exit(1)


def _record_failure(folder: Path, error: Exception, post: Post, begun: Mark) -> bool:
    """Leave the reason in the node's folder; give back the space of an output that will never be published.

    Returns whether the node was lost, and is to be tried again.
    """
    mine = part.mine(folder)
    if post.leads:
        shutil.rmtree(mine / OUT, ignore_errors=True)
    message, final = _message(folder, error, post, begun)
    # The first rank's is the reason; that this rank lost that one is none. But what runs out of memory is lost at once.
    starved = message.startswith(exhaustion.WORDS) and not failure.for_good(mine)
    if post.many and failure.failed(mine) and not starved:
        return False
    with contextlib.suppress(OSError):  # the disk may be full; the log and the exit code still say it
        if not final:
            # One that was killed because the job ends is none to start again.
            return failure.leave_lost(mine, message) and not post.stopping()
        failure.leave(mine, message, continues=isinstance(error, inputs.Missing))
    return False


def _message(folder: Path, error: Exception, post: Post, begun: Mark) -> tuple[str, bool]:
    """What a failure says in a line, and whether it would come again: it does not where something was only lost."""
    message = str(error) or type(error).__name__
    machine = cause.of(error, folder.parent.parent)
    if machine is not None:
        return machine, True
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not loaded here
        hint = "see what this stage needs with `plan --cost`: a smaller per_device_batch, or sharding=fsdp2"
        return f"{exhaustion.WORDS}{message}; {hint}", True
    if isinstance(error, MemoryError):
        return f"{exhaustion.WORDS}{message}", True
    gone = post.many and isinstance(error, RuntimeError | ConnectionError) and _GONE.search(message)
    # The words of a process that it started, or the kernel's: an engine that was killed is only said to be gone.
    may = isinstance(error, StageError | RuntimeError | OSError | EOFError | subprocess.CalledProcessError)
    starved = begun.evidence() if may and not isinstance(error, inputs.Missing) else None
    if starved is not None:
        return f"{exhaustion.WORDS}{starved} ({message.splitlines()[0]})", True
    if gone:
        lost = f"rank {post.meeting.rank} lost another process of this stage, which left no message"
        return f"{lost}: {message.splitlines()[0]}", False
    plain = isinstance(error, StageError | OSError)
    return message if plain else f"{type(error).__name__}: {message}", not isinstance(error, Lost)


def die_with_head() -> None:
    """Wait until the head is gone, then end this worker and every process it started."""
    while os.read(0, 1024):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
