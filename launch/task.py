"""What Slurm starts: `python -m launch.task FOLDER SEGMENT` does the task of order.json that is this process's.

It is the worker in Slurm's terms: which element of a job array, which rank, which signals. Before anything is run it
refuses code and packages other than those that were submitted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from launch import boot, exhaustion, failure, hold, order, provenance, queue, rendezvous, sharing, worker
from launch import node as node_file
from launch.notice import Lookout
from launch.order import Order
from launch.queue import Unanswered
from stages import contract, part
from stages.contract import Interrupted
from stages.own import NotOwn
from stages.part import ATTEMPTS
from stages.saved import Saved

#: What Slurm sends a while before the time limit. It is blocked, and waited for by a thread, so that processes which a
#: stage starts inherit the block: its default would end them.
TIME_IS_UP = signal.SIGUSR2

#: Seconds to wait for Slurm to end a job that it took back into its queue, or that it did not say anything about.
ENDING = 600


def main(folder: Path, segment: int) -> int:
    """Do this process's task; the exit code tells Slurm whether what depends on it may run.

    `segment` counts the jobs that were submitted, one after the other, for the same nodes.
    """
    store = order.store_of(folder)
    sharing.join(store)
    try:
        given = order.mine(folder)
    except (NotOwn, OSError, ValueError) as error:
        print(f"the order is not followed: {error}", file=sys.stderr)
        return 1
    task = given.tasks[int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))]
    meeting = rendezvous.of_slurm(given.servers)
    _print_to(Path(task.log if meeting.rank == 0 else f"{task.log}.rank{meeting.rank}"))
    folders = [Path(each) for each in task.folders]
    if segment > 0 and any(failure.for_good(part.mine(each)) for each in folders):
        print("an earlier segment failed, and would fail again")
        return 1
    begun = [mine for each in folders if ((mine := part.mine(each)) / ATTEMPTS).is_file()]
    starved = exhaustion.line(_said_before(folder, Path(task.log))) if segment > 0 and begun else None
    if starved is not None:
        print("an earlier segment ran out of memory, as this one would")
        for each in begun:
            failure.leave(each, f"{exhaustion.WORDS}{starved}")
        return 1
    for each in folders:
        with contextlib.suppress(Exception):  # of a stage that cannot be imported the worker will say why
            contract.load(node_file.own(each).stage)
    lookout = Lookout(store)
    wrong = _foreign_code(Path(os.environ.get(boot.CODE, given.root))) or _foreign_packages(given.packages)
    if wrong is not None:
        for each in folders:
            with contextlib.suppress(OSError):
                failure.leave(part.mine(each), wrong)
                lookout.look(each)
        print(wrong, file=sys.stderr)
        lookout.finish()
        return 1
    with _Signals(folders, given, lookout) as signals:
        post = worker.Post(
            token=given.token,
            stopping=signals.stopping,
            meeting=meeting,
            retry=signals.again,
            failed=signals.tell,
            git=given.git,
        )
        try:
            return _run(folders, signals, post, lookout)
        except Interrupted as stop:
            # A rank that failed would take the job down before the first one has put it back into the queue.
            broken = "" if stop.__cause__ is None else str(stop)
            code = signals.requeue(broken) if meeting.rank == 0 else 0
            signals.tell()
            return code
        finally:
            lookout.finish()


def _run(folders: list[Path], signals: _Signals, post: worker.Post, lookout: Lookout) -> int:
    """Run the nodes one after the other; 1 if any failed."""
    shared: dict[object, object] = {}
    codes = []
    for each in folders:
        codes.append(worker.run(each, shared, signals.at(each, post)))
        lookout.look(each)
    return max(codes, default=0)


class _Signals:
    """What Slurm asks of the job: to save before its time is up (SIGUSR2), or to go at once (SIGTERM)."""

    def __init__(self, folders: list[Path], given: Order, lookout: Lookout) -> None:
        self._order = given
        self._lookout = lookout
        self._current = folders[0]
        self._saves = False
        self._started_at: int | None = None
        self._stop = threading.Event()
        self._time_is_up = False
        self._process = os.getpid()

    def __enter__(self) -> _Signals:
        signal.pthread_sigmask(signal.SIG_BLOCK, {TIME_IS_UP})
        threading.Thread(target=self._wait_for_the_end_of_time, daemon=True).start()
        signal.signal(signal.SIGTERM, self._terminate)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stopping(self) -> bool:
        return self._stop.is_set()

    def at(self, folder: Path, post: worker.Post) -> worker.Post:
        """Note which node is worked on now."""
        self._current = folder
        with contextlib.suppress(Exception):  # the worker will say what is wrong with the stage, or with its files
            self._saves = getattr(contract.load(node_file.own(folder).stage), "SAVES", False)
            self._started_at = Saved(part.mine(folder)).step
        return post

    def requeue(self, broken: str = "") -> int:
        """Put this job back into Slurm's queue, to continue what it saved. What depends on it goes on waiting.

        `broken` is why it failed after it was asked to stop, if it did: that is no failure of the stage.
        """
        if self._time_is_up and Saved(part.mine(self._current)).step == self._started_at:
            if broken:
                why = f"and it failed as it stopped ({broken}); the same command continues"
                return self._give_up(why, continues=True)
            return self._give_up("and it saved nothing new in all that time; it needs more of it")
        if not self._time_is_up and not _may_come_back():
            return 128 + signal.SIGTERM
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what Slurm sends a job that it requeues; all is saved
        try:
            queue.ask("scontrol", "requeue", _job())
        except Unanswered as error:
            if not self._time_is_up:
                return 128 + signal.SIGTERM
            why = f"and Slurm does not let the job requeue itself ({error}); the same command continues"
            return self._give_up(why, continues=True)
        what = f"it failed as it stopped ({broken}), which counts as interrupted" if broken else "saved"
        print(f"{what}; job {_job()} is back in the queue, and waits for Slurm to end it here", flush=True)
        time.sleep(ENDING)
        return 1

    def again(self) -> None:
        """Put this job back into Slurm's queue: it was lost. Where it may not, the next segment goes on."""
        with contextlib.suppress(Unanswered):
            queue.ask("scontrol", "requeue", _job())
            print(f"job {_job()} is back in the queue", flush=True)

    def tell(self) -> None:
        """Say what there is to say now that the current node has ended, by a process that is about to."""
        self._lookout.look(self._current)
        self._lookout.finish()

    def _give_up(self, why: str, *, continues: bool = False) -> int:
        message = f"its time limit of {self._order.time} min was reached, {why}"
        print(message, flush=True)
        with contextlib.suppress(OSError):
            failure.leave(part.mine(self._current), message, continues=continues)
        return 1

    def _wait_for_the_end_of_time(self) -> None:
        signal.sigwait({TIME_IS_UP})
        print(f"the time limit of {self._order.time} min is near", flush=True)
        self._time_is_up = True
        self._stop.set()
        if not self._saves:  # it may still finish: then this goes with the folder
            self._give_up("and this stage has nothing to continue from; it needs more time")

    def _terminate(self, number: int, frame: object) -> None:
        if os.getpid() != self._process:  # a process that a stage has forked: as if this handler were not there
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        self._stop.set()
        if not self._saves:
            if self._time_is_up:  # Slurm gives a job half a minute after this
                self.tell()
            os._exit(128 + signal.SIGTERM)


def _job() -> str:
    """This job, as Slurm is to be asked for it: the bare number of an array's last element stands for all of them."""
    return str(hold.job_id())


def _may_come_back() -> bool:
    """Whether a job that got SIGTERM is preempted and would be requeued, but has a grace time before that.

    If it ended by itself within the grace time it would have failed, and what depends on it would be cancelled.
    """
    try:
        job = _shown("job", _job())
        if job.get("JobState") != "RUNNING" or job.get("PreemptTime", "None") == "None":  # cancelled, or ending
            return False
        return "REQUEUE" in _shown("partition", job["Partition"]).get("PreemptMode", "")
    except Unanswered as error:
        print(f"waits for Slurm to end or requeue job {_job()}, which knows which: {error}", flush=True)
        time.sleep(ENDING)
        return False


def _shown(kind: str, name: str) -> dict[str, str]:
    """What `scontrol show` says, by key."""
    words = queue.ask("scontrol", "show", "--oneliner", kind, name).split()
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _said_before(folder: Path, log: Path) -> str:
    """What earlier segments printed, and Slurm of them."""
    return "\n".join(exhaustion.tail(file) for file in (log, *sorted(folder.glob("*_log.out"))))


def _print_to(log: Path) -> None:
    """Send what this process and its children print to the node's log.

    Where somebody else has put a link, a pipe or a file of its own, that stays in the file that Slurm writes.
    """
    try:
        with sharing.log(log) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    except (OSError, NotOwn) as error:
        why = error.strerror if isinstance(error, OSError) else error
        print(f"{log} is not written: {why}; the log goes on here", flush=True)


def _foreign_code(root: Path) -> str | None:
    """What was imported from elsewhere than the folder of the code that was submitted."""
    for name, module in sorted(sys.modules.items()):
        lies = Path(getattr(module, "__file__", None) or root)
        if name.partition(".")[0] in ("launch", "stages") and not lies.resolve().is_relative_to(root.resolve()):
            return f"{name} was imported from {lies}, not from {root}, the code that was submitted"
    return None


def _foreign_packages(submitted: dict[str, str]) -> str | None:
    """Which packages have another version than when the job was submitted."""
    here = provenance.packages()
    changed = [name for name in {**submitted, **here} if submitted.get(name) != here.get(name)]
    if not changed:
        return None
    what = ", ".join(f"{name} {submitted.get(name, 'absent')} -> {here.get(name, 'absent')}" for name in changed)
    return f"packages have changed since this was submitted: {what}; run the command again to submit it with these"


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), int(sys.argv[2]))
    boot.leave()
    sys.exit(code)
