"""What a person sees while a study goes on: on a terminal its tree, which stays below what is told of it; elsewhere
plain lines."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from launch.escape import inline
from orchestrator import drawing, hint, learned, plan, tree, view
from orchestrator.command import Command, Study
from orchestrator.drawing import Drawing, Facts
from orchestrator.forecast import remaining
from orchestrator.graph import Node
from orchestrator.names import full
from orchestrator.plan import Entry
from orchestrator.run import Run
from orchestrator.watch import Changes

#: Seconds between two drawings of a run here, between two looks at the store for it, and between two estimates of the
#: time that is left.
REDRAW, LOOK, ESTIMATE = 0.25, 2.0, 20.0
#: Reasons for which nodes are blocked that are shown.
BLOCKS = 3


class Picture:
    """The tree of a study with its sum and where to look next, as large as a terminal, or as it comes."""

    def __init__(self, study: Study, command: Command, out: Console) -> None:
        self._study, self._command, self._out = study, command, out
        self._facts = Facts(study.store)
        self._left: remaining.Remaining | None = None
        self._estimated = float("-inf")

    def whole(self, entries: Sequence[Entry]) -> Group:
        """All of it: what is finished or has not begun is folded only where it would not fit otherwise."""
        return self._group(entries, folds=True)

    def fitting(self, entries: Sequence[Entry]) -> Group:
        """As much as the terminal has lines for, each cut at its width."""
        return self._group(entries, folds=False)

    def _group(self, entries: Sequence[Entry], *, folds: bool) -> Group:
        found = hint.hints(entries, self._command)
        advice = drawing.advice(found if folds else found[:2], folds=folds)
        reports = self._facts.progress(entries)
        said = [self._sum(entries, reports), *(f"blocked: {inline(why)}" for why in drawing.blocks(entries)[:BLOCKS])]
        below = [*(Text(line, no_wrap=not folds, overflow="fold" if folds else "ellipsis") for line in said), *advice]
        branches = tree.fold(tree.grow(entries), max(1, self._out.height - len(below) - 2))
        head = f"{inline(self._study.experiment.name)} in {inline(str(self._study.store.root))}"
        lines = Drawing(self._facts, self._out, folds=folds).tree(branches, reports)
        return Group(Text(head, no_wrap=not folds, overflow="fold" if folds else "ellipsis"), lines, *below)

    def _sum(self, entries: Sequence[Entry], reports: dict[str, drawing.Report | None]) -> str:
        """`56 nodes: 12 done, 1 running, 43 to run; about 0:20:00 left`."""
        if time.monotonic() - self._estimated >= ESTIMATE:
            self._left = remaining.left(entries, self._study, reports)
            self._estimated = time.monotonic()
        left = "" if self._left is None else f"; {self._left}"
        return f"{len(entries)} nodes: {drawing.tally(entries)}{left}"


class _Screen:
    """Where a study is drawn: live on a terminal, for as long as it is entered; elsewhere nothing is drawn."""

    def __init__(self, study: Study, command: Command, out: Console) -> None:
        self._study, self._out = study, out
        self._picture = Picture(study, command, out)
        self._live = Live(console=out, auto_refresh=False, transient=True) if out.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()


class Follow(_Screen):
    """Draws a plan again and again: live on a terminal; elsewhere a line for each change, between two sums."""

    def __init__(self, study: Study, command: Command, out: Console) -> None:
        super().__init__(study, command, out)
        self._changes = Changes(self.tell)
        self._last: list[Entry] = []

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        if self._live is None:
            self._out.print(view.sum_up(self._last, self._study.graph))
        elif self._last:
            self._out.print(self._picture.whole(self._last))

    def __call__(self, entries: list[Entry]) -> None:
        if self._live is None and not self._last:
            self._out.print(view.sum_up(entries, self._study.graph))
        self._changes(entries)
        self.show(entries)

    def show(self, entries: list[Entry]) -> None:
        """Draw a plan of which is told already what has changed; nothing where there is no terminal."""
        if self._live is not None:
            self._live.update(self._picture.fitting(entries), refresh=True)
        self._last = entries

    def tell(self, text: str) -> None:
        """Say something above the picture."""
        self._out.print(view.escape(text), soft_wrap=True)


class Watch(_Screen):
    """Draws a run of this machine: a line a finished node, and on a terminal the tree below these lines."""

    def __init__(self, study: Study, command: Command, out: Console) -> None:
        super().__init__(study, command, out)
        self._told = self._retold = self._waited = 0
        self._entries: list[Entry] = []
        self._seen: object = None
        self._looked = self._drawn = float("-inf")

    def __call__(self, run: Run) -> None:
        """Look at the run once."""
        self._tell(run)
        if self._live is not None and time.monotonic() - self._drawn >= REDRAW:
            self._look(run)
            self._live.update(self._drawable(run), refresh=True)
            self._drawn = time.monotonic()

    def _tell(self, run: Run) -> None:
        """One line for each node that was published since the last look."""
        done, of = run.counts
        sign = "" if self._live is None else "[green]✓[/green] " if self._out.encoding.startswith("utf") else "+ "
        for node in run.outcome.executed[self._told :]:
            record = self._study.store.record(node.stage, node.fingerprint)
            seconds = f"{record['seconds']:.0f} s" if record else ""
            self._out.print(f"{sign}done {_name(node)}  {seconds}  ({done}/{of})", soft_wrap=True)
            if why := learned.nothing(node, self._study.store):
                self._out.print(f"note: {_name(node)}: {view.escape(why)}", soft_wrap=True)
        self._told = len(run.outcome.executed)
        for node, messages in run.outcome.again[self._retold :]:
            self._out.print(f"again {_name(node)}: {view.escape('; '.join(messages))}", soft_wrap=True)
        self._retold = len(run.outcome.again)
        for node, whom in run.outcome.waits[self._waited :]:
            self._out.print(f"wait {_name(node)}: {view.escape(whom)}", soft_wrap=True)
        self._waited = len(run.outcome.waits)

    def _look(self, run: Run) -> None:
        """Plan again if something has changed, or a while has passed."""
        now = (self._told, self._retold, len(run.outcome.failed), tuple(map(id, run.running)))
        if now != self._seen or time.monotonic() - self._looked >= LOOK:
            self._entries = plan.make(self._study.graph, self._study.store)
            self._seen, self._looked = now, time.monotonic()

    def _drawable(self, run: Run) -> RenderableType:
        """The picture; a worker that was started and has no claim yet is starting."""
        states = {entry.node.fingerprint: entry.state for entry in self._entries}
        starting: dict[str, float] = {}
        for batch in run.running:
            mine = [node.fingerprint for node in batch.nodes if states[node.fingerprint] != "done"]
            if mine and not any(states[key] == "running" for key in mine):
                starting[mine[0]] = time.time() - batch.started
        entries = [
            replace(entry, state="running", reason=f"starting, {starting[key]:.0f} s")
            if (key := entry.node.fingerprint) in starting
            else entry
            for entry in self._entries
        ]
        return self._picture.fitting(entries)


def _name(node: Node) -> str:
    return view.escape(full(node))
