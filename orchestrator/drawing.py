"""Drawing a study: the tree of its nodes with states, times and progress, for a terminal of any width.

A state is a sign and a word; colour repeats what they say. What others have named or written is only ever text.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from rich.console import Console
from rich.text import Text
from rich.tree import Tree
from typing_extensions import TypedDict

from launch.escape import inline
from orchestrator import names
from orchestrator.forecast import remaining
from orchestrator.hint import Hint
from orchestrator.plan import STATES, Entry
from orchestrator.tree import Branch
from stages import jsonfile, spoilt
from stages.store import PROGRESS, Store

#: State -> its word, its sign, its sign where only ASCII can be shown, and its colour.
SHOWN = {
    "done": ("done", "✓", "+", "green"),
    "running": ("running", "●", ">", "bold cyan"),
    "queued": ("queued", "○", "o", "yellow"),
    "failed": ("failed", "✗", "x", "bold red"),
    "run": ("to run", "·", ".", "dim"),
    "blocked": ("blocked", "■", "!", "magenta"),
}
#: Cells of a progress bar.
BAR = 10
#: Seconds without a word after which a running node is said to be silent.
SILENT = 60.0

#: What a running node last reported, as `stages.progress` writes it.
Report = dict[str, Any]


class _Report(TypedDict):
    step: Annotated[int, Field(ge=0, lt=2**53)]
    total: Annotated[int, Field(ge=0, lt=2**53)]
    rate: Annotated[float, Field(ge=0, lt=1e15, allow_inf_nan=False)]
    updated: Annotated[float, Field(ge=0, lt=1e11, allow_inf_nan=False)]
    note: str
    metrics: dict[str, float]


@functools.cache  # made when something runs
def _report() -> TypeAdapter[Any]:
    return TypeAdapter(_Report)


def read_progress(store: Store, stage: str, fingerprint: str) -> Report | None:
    """What a running node last reported, or None."""
    try:
        progress: Report = jsonfile.read(store.attempt(stage, fingerprint) / PROGRESS)
        _report().validate_python(progress, strict=True)
    except (OSError, ValueError) as error:
        spoilt.note(store.attempt(stage, fingerprint) / PROGRESS, _first(error))
        return None
    return progress


def _first(error: Exception) -> Exception | str:
    """What is wrong, in a line."""
    return f"not a report: {error.errors()[0]['msg']}" if isinstance(error, ValidationError) else error


class Facts:
    """What is known of nodes beside their states. The records of what is done are read once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seconds: dict[str, float | None] = {}

    def seconds(self, entry: Entry) -> float | None:
        """How long a published node took."""
        key = entry.node.fingerprint
        if key not in self._seconds:
            record = self._store.record(entry.node.stage, key)
            self._seconds[key] = None if record is None else record.get("seconds")
        return self._seconds[key]

    def progress(self, entries: Iterable[Entry]) -> dict[str, Report | None]:
        """Fingerprint -> what each of the running nodes last reported."""
        running = (entry.node for entry in entries if entry.state == "running")
        return {node.fingerprint: read_progress(self._store, node.stage, node.fingerprint) for node in running}


class Drawing:
    """Turns branches into lines for `out`. `folds`: whether a line that is too long goes on in the next one."""

    def __init__(self, facts: Facts, out: Console, *, folds: bool) -> None:
        self._facts, self._folds = facts, folds
        self._ascii = not (out.encoding or "").lower().startswith("utf")

    def tree(self, branches: Sequence[Branch], reports: dict[str, Report | None]) -> Tree:
        """The lines of a tree."""
        root = Tree("", hide_root=True, guide_style="dim")
        self._grow(root, branches, reports)
        return root

    def _grow(self, at: Tree, branches: Sequence[Branch], reports: dict[str, Report | None]) -> None:
        for branch in branches:
            self._grow(at.add(self._line(branch, reports)), branch.below, reports)

    def _line(self, branch: Branch, reports: dict[str, Report | None]) -> Text:
        line = Text(no_wrap=not self._folds, overflow="fold" if self._folds else "ellipsis")
        if len(branch.entries) == 1:
            self._node(line, branch.entries[0], reports)
        elif branch.entries:
            self._group(line, branch.entries)
        if branch.hidden:
            line.append(f"  … {len(branch.hidden)} more: " if branch.entries else f"… {len(branch.hidden)} more: ")
            line.append(tally(branch.hidden))
        return line

    def _node(self, line: Text, entry: Entry, reports: dict[str, Report | None]) -> None:
        self._state(line, entry.state)
        line.append(inline(names.full(entry.node)), "" if entry.state != "run" else "dim")
        if entry.state == "done":
            seconds = self._facts.seconds(entry)
            line.append("" if seconds is None else f"  {lasting(seconds)}", "dim")
        elif entry.state == "running":
            report = reports.get(entry.node.fingerprint)
            line.append("  " + (inline(entry.reason) if report is None else self.progress(report)))
        elif entry.state != "blocked" and not entry.reason.startswith("new"):  # `blocks` says why others are
            line.append(f"  {inline(entry.reason)}", "red" if entry.state == "failed" else "dim")

    def _group(self, line: Text, entries: list[Entry]) -> None:
        """Leaves of one stage: the state of the one that matters most, and how many are done."""
        self._state(line, next(state for state in _MOST_TELLING if any(entry.state == state for entry in entries)))
        done = [entry for entry in entries if entry.state == "done"]
        line.append(f"{inline(entries[0].node.stage)} x{len(entries)}  {len(done)}/{len(entries)} done")
        seconds = [self._facts.seconds(entry) for entry in done]
        known = [each for each in seconds if each is not None]
        line.append(f"  {lasting(sum(known))}" if known else "", "dim")

    def _state(self, line: Text, state: str) -> None:
        word, sign, plain, style = SHOWN[state]
        line.append(f"{plain if self._ascii else sign} {word:8}", style)

    def progress(self, report: Report) -> str:
        """`━━━━━━──── 60 %  12/20  2.5/s  0:00:03 left  loss 0.31`."""
        step, total = report["step"], report["total"]
        share = min(1.0, step / total) if total else 0.0
        full, empty = ("#", "-") if self._ascii else ("━", "─")
        bar = full * round(share * BAR) + empty * (BAR - round(share * BAR))
        parts = [f"{bar} {share:.0%}", f"{step}/{total}", pace(report), inline(report["note"]), metrics(report)]
        quiet = time.time() - report["updated"]
        if quiet > SILENT:
            parts.append(f"silent for {lasting(quiet)}")
        return "  ".join(filter(None, parts))


#: The order in which states matter for a line that has several.
_MOST_TELLING = ("failed", "running", "queued", "blocked", "run", "done")


def blocks(entries: Iterable[Entry]) -> list[str]:
    """Why nodes are blocked, each reason once; not that they need one that is."""
    return list(dict.fromkeys(e.reason for e in entries if e.state == "blocked" and not e.reason.startswith("needs ")))


def tally(entries: Iterable[Entry]) -> str:
    """`12 done, 1 running, 39 to run`."""
    found = Counter(entry.state for entry in entries)
    return ", ".join(f"{found[state]} {SHOWN[state][0]}" for state in STATES if found[state])


def lasting(seconds: float) -> str:
    """`19 s`, or `0:20:04` of what takes longer."""
    return f"{seconds:.0f} s" if seconds < 600 else str(timedelta(seconds=round(seconds)))


def pace(report: Report) -> str:
    """Steps per second and the time left at that rate, `2.5/s 0:01:20 left`; nothing before there is a rate."""
    if not report["rate"]:
        return ""
    left = timedelta(seconds=round(min(max(0, report["total"] - report["step"]) / report["rate"], remaining.LONGEST)))
    return f"{report['rate']:.2g}/s {left} left"


def metrics(report: Report) -> str:
    """`loss 0.31  reward 0.5`."""
    return "  ".join(f"{inline(str(name))} {value:.4g}" for name, value in report["metrics"].items())


def advice(hints: Iterable[Hint], *, folds: bool) -> list[Text]:
    """Where to look next, a line each."""
    lines = []
    for hint in hints:
        line = Text(no_wrap=not folds, overflow="fold" if folds else "ellipsis")
        lines.append(line.append(f"{hint.what}: ", "dim").append(inline(hint.command)))
    return lines
