"""The verb `grade`: anybody's generations, graded by the code that grades the benchmarks and rewards.

A line of the file is a JSON object with `kind`, `gold` and `completion`, of a choice perhaps with `options` (the texts
of the choices), and whatever else; it is printed again with `extracted`, `correct` (null if it could not be graded) and
`error` (the reason). Lines are read, graded and printed as they come, so memory does not grow with the file. They are
UTF-8, whatever the locale says.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, get_args

from launch.escape import inline
from orchestrator.command import DONE, Command, Site
from orchestrator.refusal import ConfigError, instead
from stages.grading import letters
from stages.grading.scoring import Kind

KINDS: tuple[str, ...] = get_args(Kind)

#: Bad lines that are shown.
SHOWN = 20

#: Bytes of a line, at most: it is in memory several times while it is graded.
LONGEST = 1 << 24

#: Lines, and characters of them, that are read before the first of them is graded.
AHEAD_LINES, AHEAD_CHARACTERS = 4_096, 1 << 24


def verb(site: Site, command: Command) -> int:
    """Grade the lines of a file, or of standard input (`-`)."""
    assert command.node is not None
    with _opened(command.node) as stream:
        _check(stream, command.node)
        stream.seek(0)
        counts: Counter[str] = Counter()
        try:
            for row in _graded(stream, _workers(site)):
                print(json.dumps(row))
                counts.update(_outcome(row))
            sys.stdout.flush()
        except BrokenPipeError:  # whoever read it has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    shown = ", ".join(f"{counts[name]} {name}" for name in ("correct", "wrong", "unparsed", "errors"))
    print(inline(f"{sum(counts.values())} graded: {shown}"), file=sys.stderr)
    return DONE


def _workers(site: Site) -> int:
    """As many as the cluster says; where it says one, as its default is, as many as there are cores."""
    graders = site.cluster.needs("evaluate").graders
    return graders if graders > 1 else len(os.sched_getaffinity(0))


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    """The lines of a file, twice if need be: standard input is kept in a file of its own."""
    if name == "-":
        if sys.stdin is None:
            raise ConfigError(["grade -: standard input is closed"])
        with tempfile.TemporaryFile() as spool:
            shutil.copyfileobj(sys.stdin.buffer, spool)
            spool.seek(0)
            yield spool
        return
    if Path(name).exists() and not os.path.isfile(name):  # to open a pipe would wait for who writes
        raise ConfigError([f"grade {name}: no regular file; - reads standard input"])
    try:
        with Path(name).open("rb") as stream:
            yield stream
    except OSError as error:
        raise ConfigError([f"grade {name}: cannot be read ({error.strerror})"]) from None


def _check(stream: IO[bytes], name: str) -> None:
    """Refuse a file with lines that cannot be graded, before any is.

    Raises:
        ConfigError: with the first `SHOWN` of them, and how many more there are.
    """
    name = "standard input" if name == "-" else name
    wrong, number = [], 0
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST + 1), b""), start=1):
        if len(line) > LONGEST:
            wrong.append(f"{name}, line {number}: more than {LONGEST} bytes")
            break
        try:
            error = _error(line.decode()) if line.strip() else None
        except UnicodeDecodeError as problem:
            wrong.append(f"{name}, line {number}: not UTF-8 (byte {problem.start + 1} of the line: {problem.reason})")
            break  # of a file in another encoding every line would be wrong
        if error is not None:
            wrong.append(f"{name}, line {number}: {error}")
    if number == 0 and not wrong:
        wrong.append(f"{name}: no lines")
    more = [f"{name}: {len(wrong) - SHOWN} more lines are wrong"] if len(wrong) > SHOWN else []
    if wrong:
        raise ConfigError([*wrong[:SHOWN], *more])


def _error(line: str) -> str | None:
    """What is wrong with a line; None if nothing is."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"not JSON ({str(error)[:100]})"
    if not isinstance(row, dict):
        return f"expected an object with kind, gold and completion, not {type(row).__name__}"
    lacking = [key for key in ("kind", "gold", "completion") if not isinstance(row.get(key), str)]
    if lacking:
        return "; ".join(f"{key}={row[key]!r:.80}: not a text" if key in row else f"no {key}" for key in lacking)
    if row["kind"] not in KINDS:
        return f"kind={row['kind']!r:.80}: no such kind{instead(row['kind'][:80], KINDS)}"
    options = row.get("options")
    if options is not None and not (isinstance(options, list) and options and all(isinstance(o, str) for o in options)):
        return "options: expected a list of texts"
    if row["kind"] != "math" and letters.gold(row["gold"]) is None:
        return f"gold={row['gold']!r:.80}: expected a letter"
    return None


def _graded(stream: IO[bytes], workers: int) -> Iterator[dict[str, Any]]:
    """The rows with their grades, in order; some are with the graders while the first is waited for."""
    from stages.grading.pool import Graders, Pending

    waiting: deque[tuple[dict[str, Any], Pending, int]] = deque()
    characters = 0
    with Graders(workers, check_golds=True) as graders:
        for line in stream:
            if not line.strip():
                continue
            row = json.loads(line.decode())
            pending = graders.submit(row["kind"], row["gold"], row["completion"], row.get("options"))
            waiting.append((row, pending, len(line)))
            characters += len(line)
            while len(waiting) > AHEAD_LINES or (characters > AHEAD_CHARACTERS and waiting):
                characters -= waiting[0][2]
                yield _row(*waiting.popleft()[:2])
        while waiting:
            yield _row(*waiting.popleft()[:2])


def _row(row: dict[str, Any], pending: Any) -> dict[str, Any]:
    grade = pending.result()
    return {**row, "extracted": grade.extracted, "correct": grade.correct, "error": grade.error}


def _outcome(row: dict[str, Any]) -> list[str]:
    """What a row counts as: every row as one of four."""
    if row["error"] is not None:
        return ["errors"]
    return ["unparsed" if row["extracted"] is None else "correct" if row["correct"] else "wrong"]
