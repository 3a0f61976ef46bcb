"""Worker processes that grade answers: killed and replaced when they hang, limited in memory, never signal alarms.

A grader that hangs or dies is an error of the grader, not a wrong answer: `correct` is None and `error` says why.
Such a grade counts as wrong in pass@1 and as -1 in a reward; `check_errors` stops a stage with too many of them.

A worker that somebody else kills, or the server that forks them, costs no verdict: the answers in flight are graded
again, by a new pool if the old one broke. Graders ignore SIGTERM, as it may come to a whole group of processes while
the one that has the pool still needs them; they end with that process.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from pebble import CONSTS, ProcessExpired, ProcessPool

from stages import lifeline
from stages.contract import StageError
from stages.grading import scoring
from stages.grading.mathematics import MAX_ANSWER
from stages.grading.scoring import Kind

#: Processor seconds that one answer may take; an ordinary one takes 0.003. Processor time, because on a loaded
#: machine wall time would turn honest answers into errors.
DEADLINE = 1.0
#: Wall seconds after which a worker that does not even compute is killed.
PATIENCE = 60
#: Times that an answer is graded whose worker dies, or whose pool breaks. If it dies each time, the answer does it.
ATTEMPTS = 3
#: Pools in a row that may break before one of them has graded anything.
BREAKS = 5
#: Wall seconds between two looks at the pool while an answer is waited for; and those without any verdict after which
#: the pool counts as broken: a worker that was killed may have taken the lock of its queue with it.
GLANCE, STALL = 1.0, PATIENCE + 15.0
#: Bytes that a worker may allocate beside what its imports take (0.1 GiB, which all workers share).
MEMORY = 192 << 20
#: Answers after which a worker is replaced: sympy's caches only grow.
ANSWERS_PER_WORKER = 5_000
#: Grades that are remembered, the last ones.
KNOWN = 20_000
#: Characters of an exception that its grade shows.
REASON = 200
#: Share of errors above which no number of the stage can be trusted.
MAX_ERRORS = 0.01


@dataclass(frozen=True)
class Grade:
    """A verdict, or the reason why there is none (`correct` is None exactly if `error` is not)."""

    extracted: str | None
    correct: bool | None
    error: str | None = None


#: A verdict, or None and the reason why there is none.
Outcome = tuple[bool | None, str | None]


class Task:
    """A call of a function in a worker, which is repeated when the worker dies of something else than the call."""

    def __init__(self, graders: Graders, function: Callable[..., Outcome], args: Sequence[object]) -> None:
        self.function, self.args = function, args
        self._graders = graders
        self._deaths, self._times = 0, 0
        self._schedule()

    def outcome(self) -> Outcome:
        """Wait for what a worker finds; if it came to no end, for how it ended."""
        while True:
            wait([self.future], timeout=GLANCE)
            if self.future.done():
                error = self.future.exception()
                if error is None:
                    return self.future.result()
                if (final := self._final(error)) is not None:
                    return None, final
            elif not self._graders.has_lost(self):
                continue
            self._schedule()

    def _final(self, error: BaseException) -> str | None:
        """Why there is no verdict and will be none; None if it is worth another attempt."""
        if isinstance(error, TimeoutError):
            return f"timeout after {PATIENCE} s"
        if isinstance(error, ProcessExpired):
            if error.exitcode == -signal.SIGPROF:
                return f"timeout after {DEADLINE:g} s of processor time"
            self._deaths += 1
            return f"worker died {ATTEMPTS} times (exit code {error.exitcode})" if self._deaths == ATTEMPTS else None
        if isinstance(error, BrokenProcessPool):
            return None
        raise error

    def _schedule(self) -> None:
        self._times += 1
        if self._times > ATTEMPTS + BREAKS:
            raise StageError(f"the graders broke {ATTEMPTS + BREAKS} times with the same answer")
        self.since = time.monotonic()
        self.pool, self.future = self._graders.schedule(self)


class Pending:
    """A grade that is being made, of the answer that was found (None: of none)."""

    def __init__(self, answer: str | None, task: Task | Outcome) -> None:
        self._answer, self._task = answer, task

    def result(self) -> Grade:
        """Wait for it."""
        return Grade(self._answer, *(self._task.outcome() if isinstance(self._task, Task) else self._task))


class Graders:
    """A pool of `workers` grading processes; a context manager.

    Of equal answers to equal golds one is graded, as long as it is among the last `KNOWN`.
    """

    def __init__(self, workers: int, *, check_golds: bool = False) -> None:
        """`check_golds`: a gold answer that does not parse is an error, not one that nothing equals."""
        self._workers, self._check_golds = workers, check_golds
        self._known: OrderedDict[tuple[str, str], Pending] = OrderedDict()
        self._lock = threading.RLock()
        self._breaks, self._last_verdict = 0, time.monotonic()
        CONSTS.term_timeout = 0.1  # seconds from SIGTERM, which graders ignore, to SIGKILL
        self._pool = self._new_pool()

    def __enter__(self) -> Graders:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        _discard(self._pool)

    def schedule(self, task: Task) -> tuple[ProcessPool, Future[Outcome]]:
        """Give a task to the pool, to a new one if it is broken.

        Raises:
            StageError: `BREAKS` pools have broken without a verdict.
        """
        with self._lock:
            while True:
                try:
                    future = self._pool.schedule(task.function, args=task.args, timeout=PATIENCE)
                except RuntimeError as error:  # a broken pool says so, or breaks as it starts
                    self._renew(error)
                else:
                    future.add_done_callback(self._note)
                    return self._pool, future

    def has_lost(self, task: Task) -> bool:
        """Whether no pool has a task any more that is not done: its pool broke, or has been silent for `STALL`."""
        with self._lock:
            silent = time.monotonic() - max(self._last_verdict, task.since)
            if task.pool is self._pool and (silent > STALL or not self._pool.active):
                self._renew(None)
            return task.pool is not self._pool and not task.future.done()

    def _renew(self, error: Exception | None) -> None:
        """Leave a broken pool for a new one."""
        self._breaks += 1
        if self._breaks > BREAKS:
            reason = "no worker answers" if error is None else error.__cause__ or error
            raise StageError(f"{BREAKS} pools of graders in a row broke before a verdict, the last: {reason}")
        logging.getLogger(__name__).warning("the pool of graders broke; a new one grades what was in flight")
        threading.Thread(target=_discard, args=[self._pool], daemon=True).start()  # it may hang in what broke it
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(self._workers, max_tasks=ANSWERS_PER_WORKER, initializer=_confine, context=_context())

    def _note(self, future: Future[Outcome]) -> None:
        """A verdict, and a timeout too, shows that the pool works."""
        if not isinstance(future.exception(), BrokenProcessPool):
            self._breaks, self._last_verdict = 0, time.monotonic()

    def submit(self, kind: Kind, gold: str, completion: str, options: Sequence[str] | None = None) -> Pending:
        """Grade a completion, without waiting for the verdict. `options` are the texts of a choice's options."""
        answer = scoring.extract(kind, completion, options)
        if answer is None:
            return Pending(None, (False, None))
        if kind != "math" or len(answer) > MAX_ANSWER:  # nothing there that could hang
            return Pending(answer, (scoring.equivalent(kind, gold, answer), None))
        return self._compared(gold, answer)

    def grade(self, kind: Kind, answers: Iterable[tuple[str, str]]) -> list[Grade]:
        """Grade pairs of (gold, completion), in their order."""
        pending = [self.submit(kind, gold, completion) for gold, completion in answers]
        return [each.result() for each in pending]

    def unreadable(self, kind: Kind, golds: Sequence[str]) -> dict[int, str]:
        """The gold answers that are none, by their place, with the reason."""
        if kind != "math":
            return {place: "no letter" for place, gold in enumerate(golds) if not scoring.readable(kind, gold)}
        short = {place: gold for place, gold in enumerate(golds) if len(gold) <= MAX_ANSWER}
        tasks = {gold: Task(self, _readable, [gold]) for gold in set(short.values())}
        outcomes = {gold: task.outcome() for gold, task in tasks.items()}
        reasons = {gold: error or "does not parse" for gold, (read, error) in outcomes.items() if not read}
        long = f"longer than {MAX_ANSWER} characters"
        return {
            place: reasons.get(gold, long) for place, gold in enumerate(golds) if place not in short or gold in reasons
        }

    def _compared(self, gold: str, answer: str) -> Pending:
        key = gold, answer
        if key not in self._known:
            self._known[key] = Pending(answer, Task(self, _equivalent, [*key, self._check_golds]))
            if len(self._known) > KNOWN:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def check_errors(grades: Sequence[Grade], *, planned: int | None = None) -> None:
    """Stop the stage when more than `MAX_ERRORS` of its grades (of all it will make: `planned`) are errors."""
    errors = [grade.error for grade in grades if grade.error is not None]
    total = len(grades) if planned is None else planned
    if len(errors) > MAX_ERRORS * total:
        share = len(errors) / total
        raise StageError(f"{len(errors)} of {total} answers ({share:.1%}) could not be graded, the last: {errors[-1]}")


def _context() -> multiprocessing.context.BaseContext:
    """Workers are forked by a server that has imported what they need: to replace one takes a moment, not a second.

    The server is a fresh process, so no worker inherits a lock, a thread or a file of one that runs torch.
    """
    context = multiprocessing.get_context("forkserver")
    main = getattr(sys.modules["__main__"], "__spec__", None)  # each worker imports it again
    context.set_forkserver_preload(["stages.grading.warm", __name__, *([main.name] if main is not None else [])])
    return context


def _discard(pool: ProcessPool) -> None:
    pool.stop()
    pool.join()


def _confine() -> None:
    """Limit this worker, and make it die with its parent (the kernel's doing: also when it hangs in C code).

    The parent is the server of `_context`, which ends when the process does that has the pool.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):  # Ctrl-C and a stop of the whole job are the parent's to handle
        signal.signal(stop, signal.SIG_IGN)
    lifeline.end_with_parent()
    if os.getppid() == 1:  # it died before the call
        os._exit(1)
    scoring.equivalent("math", "2a", "a+a")  # what is imported on first use is no answer's doing
    _limit_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)  # nobody reads what a parser thinks of an answer


def _limit_memory() -> None:
    """Let this worker allocate `MEMORY` more than it has."""
    with open("/proc/self/statm", encoding="ascii") as pages:
        size = int(pages.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))


def _equivalent(gold: str, answer: str, check_gold: bool) -> Outcome:
    try:
        with _deadline():
            if scoring.equivalent("math", gold, answer):
                return True, None
            return (None, "the gold answer does not parse") if check_gold and not _read(gold) else (False, None)
    except MemoryError:
        return None, f"more than {MEMORY >> 20} MiB"
    except Exception as error:  # whatever a parser raises on a hostile string; it is reported, not swallowed
        return None, f"{type(error).__name__}: {str(error)[:REASON]}"


def _read(gold: str) -> bool:
    return len(gold) <= MAX_ANSWER and scoring.readable("math", gold)


def _readable(gold: str) -> Outcome:
    try:
        with _deadline():
            return scoring.readable("math", gold), None
    except Exception as error:  # as above
        return None, f"{type(error).__name__}: {str(error)[:REASON]}"


@contextmanager
def _deadline() -> Iterator[None]:
    """Within, the kernel ends this worker (SIGPROF, also in C code) when it takes more than `DEADLINE`."""
    signal.setitimer(signal.ITIMER_PROF, DEADLINE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
