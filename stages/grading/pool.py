"""Worker processes that grade answers: killed and replaced when they hang, limited in memory, never signal alarms.

A grader that hangs or dies is an error of the grader, not a wrong answer: `correct` is None and `error` says why.
Such a grade counts as wrong in pass@1 and as -1 in a reward; `check_errors` stops a stage with too many of them.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import signal
import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

from pebble import ProcessExpired, ProcessPool

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


class Pending:
    """A grade that is being made, of the answer that was found (None: of none)."""

    def __init__(self, answer: str | None, future: Future[Outcome]) -> None:
        self._answer, self._future = answer, future

    def result(self) -> Grade:
        """Wait for it."""
        return Grade(self._answer, *_outcome(self._future))


class Graders:
    """A pool of `workers` grading processes; a context manager.

    Of equal answers to equal golds one is graded, as long as it is among the last `KNOWN`.
    """

    def __init__(self, workers: int, *, check_golds: bool = False) -> None:
        """`check_golds`: a gold answer that does not parse is an error, not one that nothing equals."""
        self._check_golds = check_golds
        self._pool = ProcessPool(workers, max_tasks=ANSWERS_PER_WORKER, initializer=_confine, context=_context())
        self._known: OrderedDict[tuple[str, str], Pending] = OrderedDict()

    def __enter__(self) -> Graders:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.stop()
        self._pool.join()

    def submit(self, kind: Kind, gold: str, completion: str, options: Sequence[str] | None = None) -> Pending:
        """Grade a completion, without waiting for the verdict. `options` are the texts of a choice's options."""
        answer = scoring.extract(kind, completion, options)
        if answer is None:
            return _settled(None, False)
        if kind != "math" or len(answer) > MAX_ANSWER:  # nothing there that could hang
            return _settled(answer, scoring.equivalent(kind, gold, answer))
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
        futures = {gold: self._pool.schedule(_readable, args=[gold], timeout=PATIENCE) for gold in set(short.values())}
        outcomes = {gold: _outcome(future) for gold, future in futures.items()}
        reasons = {gold: error or "does not parse" for gold, (read, error) in outcomes.items() if not read}
        long = f"longer than {MAX_ANSWER} characters"
        return {
            place: reasons.get(gold, long) for place, gold in enumerate(golds) if place not in short or gold in reasons
        }

    def _compared(self, gold: str, answer: str) -> Pending:
        key = gold, answer
        if key not in self._known:
            future = self._pool.schedule(_equivalent, args=[*key, self._check_golds], timeout=PATIENCE)
            self._known[key] = Pending(answer, future)
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


def _settled(answer: str | None, correct: bool) -> Pending:
    future: Future[Outcome] = Future()
    future.set_result((correct, None))
    return Pending(answer, future)


def _outcome(future: Future[Outcome]) -> Outcome:
    """What a worker found; if it came to no end, how it ended."""
    try:
        return future.result()
    except TimeoutError:
        return None, f"timeout after {PATIENCE} s"
    except ProcessExpired as death:
        if death.exitcode == -signal.SIGPROF:
            return None, f"timeout after {DEADLINE:g} s of processor time"
        return None, f"worker died (exit code {death.exitcode})"


def _confine() -> None:
    """Limit this worker, and make it die with its parent (the kernel's doing: also when it hangs in C code).

    The parent is the server of `_context`, which ends when the process does that has the pool.
    """
    lifeline.end_with_parent()
    if os.getppid() == 1:  # it died before the call
        os._exit(1)
    scoring.equivalent("math", "2a", "a+a")  # what is imported on first use is no answer's doing
    _limit_memory()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
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
