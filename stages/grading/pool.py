"""Worker processes that grade answers: killed and replaced when they hang, limited in memory, never signal alarms.

A grader that hangs or dies is an error of the grader, not a wrong answer: `correct` is None and `error` says why.
Such a grade counts as wrong in pass@1 and as -1 in a reward; `check_errors` stops a stage with too many of them.
"""

from __future__ import annotations

import ctypes
import logging
import math
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType

from pebble import ProcessExpired, ProcessPool

from stages.contract import StageError
from stages.grading import mathematics, scoring
from stages.grading.scoring import Kind

#: Processor seconds that one answer may take; an ordinary one takes 0.005. Processor time, because on a loaded
#: machine wall time would turn honest answers into errors.
DEADLINE = 2
#: Wall seconds after which a worker that does not even compute is killed.
PATIENCE = 60
#: Address space of a worker, bytes; one that has graded ordinary answers uses 0.1 GiB.
MEMORY = 1 << 30
#: Answers after which a worker is replaced: sympy's caches only grow.
ANSWERS_PER_WORKER = 5_000
#: Share of errors above which no number of the stage can be trusted.
MAX_ERRORS = 0.01


@dataclass(frozen=True)
class Grade:
    """A verdict, or the reason why there is none (`correct` is None exactly if `error` is not)."""

    extracted: str | None
    correct: bool | None
    error: str | None = None


class Pending:
    """A grade that is being made."""

    def __init__(self, answer: str | None, future: Future[bool] | None) -> None:
        self._answer, self._future = answer, future

    def result(self) -> Grade:
        """Wait for it."""
        if self._answer is None or self._future is None:
            return Grade(None, False)
        return _outcome(self._answer, self._future)


class Graders:
    """A pool of `workers` grading processes; a context manager.

    Equal (gold, answer) pairs are graded once in the life of the pool.
    """

    def __init__(self, workers: int) -> None:
        # Spawned, so that a worker inherits no lock, thread or file descriptor of a process that runs torch.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPool(workers, max_tasks=ANSWERS_PER_WORKER, initializer=_confine, context=context)
        self._known: dict[tuple[Kind, str, str], Grade] = {}

    def __enter__(self) -> Graders:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._pool.stop()
        self._pool.join()

    def submit(self, kind: Kind, gold: str, completion: str, options: Sequence[str] | None = None) -> Pending:
        """Grade one completion, without waiting."""
        answer = scoring.extract(kind, completion)
        return Pending(answer, None if answer is None else self._submit(kind, gold, answer))

    def unreadable(self, kind: Kind, golds: Sequence[str]) -> dict[int, str]:
        """The gold answers that do not parse, by their place, with the reason."""
        return {}

    def grade(self, kind: Kind, answers: Iterable[tuple[str, str]]) -> list[Grade]:
        """Grade pairs of (gold, completion), in their order."""
        extracted = [(gold, scoring.extract(kind, completion)) for gold, completion in answers]
        keys = [None if answer is None else (kind, gold, answer) for gold, answer in extracted]
        new = [key for key in dict.fromkeys(keys) if key is not None and key not in self._known]
        for key, future in [(key, self._submit(*key)) for key in new]:
            self._known[key] = _outcome(key[2], future)
        return [Grade(None, False) if key is None else self._known[key] for key in keys]

    def _submit(self, kind: Kind, gold: str, answer: str) -> Future[bool]:
        if kind != "math" or len(answer) > mathematics.MAX_ANSWER:  # nothing there that could hang
            done: Future[bool] = Future()
            done.set_result(scoring.equivalent(kind, gold, answer))
            return done
        return self._pool.schedule(_equivalent, args=[kind, gold, answer], timeout=PATIENCE)


def check_errors(grades: Sequence[Grade], *, planned: int | None = None) -> None:
    """Stop the stage when more than `MAX_ERRORS` of its grades (of all it will make: `planned`) are errors."""
    errors = [grade.error for grade in grades if grade.error is not None]
    total = len(grades) if planned is None else planned
    if len(errors) > MAX_ERRORS * total:
        share = len(errors) / total
        raise StageError(f"{len(errors)} of {total} answers ({share:.1%}) could not be graded, the last: {errors[-1]}")


def _outcome(answer: str, future: Future[bool]) -> Grade:
    try:
        return Grade(answer, future.result())
    except TimeoutError:
        return Grade(answer, None, f"timeout after {PATIENCE} s")
    except ProcessExpired as death:
        if death.exitcode == -signal.SIGXCPU:
            return Grade(answer, None, f"timeout after {DEADLINE} s of processor time")
        return Grade(answer, None, f"worker died (exit code {death.exitcode})")
    except MemoryError:
        return Grade(answer, None, "worker died (memory)")
    except Exception as error:  # whatever a parser raises on a hostile string; it is reported, not swallowed
        return Grade(answer, None, f"{type(error).__name__}: {str(error)[:200]}")


def _confine() -> None:
    """Limit this worker, and make it die with its parent (the kernel's doing: also when it hangs in C code)."""
    parent_death = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
    if hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(parent_death, signal.SIGKILL)
        if multiprocessing.parent_process() and os.getppid() == 1:  # it died before the call
            os._exit(1)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    logging.disable(logging.CRITICAL)  # nobody reads what a parser thinks of an answer
    scoring.equivalent("math", "1", "1")  # the imports (0.4 s) are no answer's time


def _equivalent(kind: Kind, gold: str, answer: str) -> bool:
    """`scoring.equivalent`, killed by the kernel (SIGXCPU) when it takes more than `DEADLINE` of processor time."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + DEADLINE, hard))
    return scoring.equivalent(kind, gold, answer)
