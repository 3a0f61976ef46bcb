"""What a person sees on the terminal: plans, running stages, results. Plain lines where there is no terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.filesize import decimal
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table as RichTable

from orchestrator.finding import Finding
from orchestrator.graph import Graph
from orchestrator.names import full
from orchestrator.plan import Entry, counts
from orchestrator.run import Batch, Run
from orchestrator.submit import Submitted
from orchestrator.watch import Changes
from orchestrator.why import Answer
from stages.store import PROGRESS, Store

if TYPE_CHECKING:
    from orchestrator.gc import Garbage

#: Columns of a line where nobody's terminal sets them: plans and tables are never cut off in a file.
PLAIN_WIDTH = 200


def console(*, errors: bool = False) -> Console:
    """Standard output (or standard error), as wide as the terminal, or as plain text needs it."""
    found = Console(highlight=False, stderr=errors)
    return found if found.is_terminal else Console(highlight=False, stderr=errors, width=PLAIN_WIDTH)


def show_plan(entries: list[Entry], graph: Graph, out: Console) -> None:
    """One line a node: state, stage, label, fingerprint and reason; then the sum of it."""
    out.print(_plan_table(entries))
    out.print(sum_up(entries, graph))
    for source in graph.sources.values():
        if source.unresolved:
            out.print(f"unresolved: {escape(source.unresolved)}; fingerprints below it are provisional")


def sum_up(entries: list[Entry], graph: Graph) -> str:
    """`9 node references, 6 distinct: 2 done, 3 in flight (1 running, 2 queued), 1 to run`."""
    found = counts(entries, graph)
    flying = found["running"] + found["queued"]
    parts = [
        f"{found['done']} done" if found["done"] else "",
        f"{flying} in flight ({found['running']} running, {found['queued']} queued)" if flying else "",
        f"{found['failed']} failed" if found["failed"] else "",
        f"{found['run']} to run" if found["run"] else "",
        f"{found['blocked']} blocked" if found["blocked"] else "",
    ]
    states = ", ".join(filter(None, parts))
    return f"{found['references']} node references, {found['distinct']} distinct: {states}"


def _plan_table(entries: list[Entry]) -> RichTable:
    table = RichTable(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("state", "stage", "label", "fingerprint", "reason"):
        table.add_column(column, no_wrap=column != "reason")
    for entry in entries:
        node = entry.node
        table.add_row(entry.state, node.stage, escape(node.label), node.fingerprint[:10], escape(entry.reason))
    return table


def show_prompts(prompts: dict[str, str], out: Console) -> None:
    """One prompt of each benchmark, as it is: its last line has no end."""
    for name, prompt in prompts.items():
        out.rule(escape(name), align="left")
        print(prompt)


def show_why(answers: list[Answer], out: Console) -> None:
    """State, reason, place and identity of nodes, and what differs from the nearest published sibling."""
    for answer in answers:
        out.print(f"{escape(answer.node)}  {answer.fingerprint}", soft_wrap=True)
        out.print(f"  {answer.state}: {escape(answer.reason)}", soft_wrap=True)
        out.print(f"  {escape(answer.path)}", soft_wrap=True)
        out.print(f"  identity: {escape(json.dumps(answer.identity))}", soft_wrap=True)
        if answer.nearest is not None:
            out.print(f"  differs from the nearest published sibling, {escape(answer.nearest)}, in:", soft_wrap=True)
        for name, (theirs, mine) in answer.differs.items():
            out.print(f"    {name}: {escape(str(theirs))} -> {escape(str(mine))}", soft_wrap=True)


def show_submitted(given: Submitted, out: Console, as_json: bool) -> None:
    """What was handed to Slurm, what hangs on jobs of others, and what could not be submitted yet."""
    if as_json:
        jobs = {id: [node.fingerprint for node in nodes] for id, nodes in given.jobs.items()}
        attached = {entry.node.fingerprint: entry.standing.job for entry in given.attached}
        held_back = [node.fingerprint for node in given.held_back]
        print(json.dumps({"jobs": jobs, "sbatch": given.calls, "attached": attached, "held_back": held_back}))
        return
    for id, nodes in given.jobs.items():
        names = ", ".join(f"{node.stage}/{node.label}" for node in nodes)
        out.print(f"submitted {id}  {escape(names)}", soft_wrap=True)
    for entry in given.attached:
        out.print(f"attached  {escape(f'{entry.node.stage}/{entry.node.label}: {entry.reason}')}", soft_wrap=True)
    for node in given.held_back:
        out.print(f"not yet   {escape(f'{node.stage}/{node.label}')}: a worker outside of Slurm has what it needs")
    out.print(
        f"{given.nodes} nodes in {len(given.jobs)} jobs, by {given.calls} calls of sbatch; "
        f"{len(given.attached)} nodes were in flight before"
    )


def show_garbage(garbage: Sequence[Garbage], kinds: dict[str, str], removed: bool, out: Console) -> None:
    """Every folder with its size, then the sum of each kind."""
    for each in garbage:
        out.print(f"{each.kind:10}  {decimal(each.size):>8}  {escape(str(each.path))}", soft_wrap=True)
    for kind, what in kinds.items():
        sizes = [each.size for each in garbage if each.kind == kind]
        if sizes:
            out.print(f"{what}: {len(sizes)}, {decimal(sum(sizes))}")
    total = decimal(sum(each.size for each in garbage))
    if not garbage:
        out.print("nothing of yours can go")
    else:
        out.print(f"removed {total}" if removed else f"{total} can go; nothing was removed: --delete does")


def show_findings(findings: Sequence[Finding], out: Console) -> None:
    """One line a finding; below it, what is worse because of it."""
    width = max((len(finding.what) for finding in findings), default=0)
    for finding in findings:
        sign = "error" if finding.fatal else "note" if finding.means else "ok"
        out.print(f"{sign:5}  {escape(finding.what):{width}}  {escape(finding.value)}", soft_wrap=True)
        if finding.means:
            out.print(f"{'':5}  {'':{width}}  -> {escape(finding.means)}", soft_wrap=True)


class Follow:
    """Draws a plan again and again: live on a terminal; elsewhere a line for each change, between two sums."""

    def __init__(self, graph: Graph, store: Store, out: Console) -> None:
        self._graph, self._store, self._out = graph, store, out
        self._live = Live(console=out, auto_refresh=False, transient=True) if out.is_terminal else None
        self._changes = Changes(lambda text: out.print(escape(text), soft_wrap=True))
        self._last: list[Entry] = []

    def __enter__(self) -> Follow:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            show_plan(self._last, self._graph, self._out)
        else:
            self._out.print(sum_up(self._last, self._graph))

    def __call__(self, entries: list[Entry]) -> None:
        if self._live is None:
            if not self._last:
                self._out.print(sum_up(entries, self._graph))
            self._changes(entries)
        else:
            self._live.update(self._picture(entries), refresh=True)
        self._last = entries

    def _picture(self, entries: list[Entry]) -> Group:
        """What fits on the terminal, what goes on or went wrong first."""
        order = ("running", "failed", "queued", "run", "blocked", "done")
        rows = sorted(entries, key=lambda entry: order.index(entry.state))[: max(1, self._out.height - 6)]
        table = RichTable(box=SIMPLE_HEAD, pad_edge=False)
        for column in ("state", "node", "progress", "reason"):
            table.add_column(column, no_wrap=True)
        for entry in rows:
            progress = read_progress(self._store, entry.node.stage, entry.node.fingerprint)
            shown = _steps(progress) if progress is not None and entry.state == "running" else ""
            table.add_row(entry.state, escape(full(entry.node)), shown, escape(entry.reason))
        hidden = len(entries) - len(rows)
        more = [f"... and {hidden} more"] if hidden else []
        return Group(table, *more, sum_up(entries, self._graph))


class Watch:
    """Draws a running study: one live line a running job; where there is no terminal, one line a finished node."""

    def __init__(self, store: Store, out: Console) -> None:
        self._store = store
        self._out = out
        self._lines: dict[Batch, TaskID] = {}
        self._told = self._retold = 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[metrics]}"),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        )

    def __enter__(self) -> Watch:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, run: Run) -> None:
        """Look at the run once."""
        self._tell(run)
        for batch in self._lines.keys() - set(run.running):
            self._progress.remove_task(self._lines.pop(batch))
        for batch in run.running:
            self._draw(batch)

    def _tell(self, run: Run) -> None:
        """One line for each node that was published since the last look."""
        done, of = run.counts
        for node in run.outcome.executed[self._told :]:
            record = self._store.record(node.stage, node.fingerprint)
            seconds = f"{record['seconds']:.0f} s" if record else ""
            self._out.print(f"done {node.stage}/{escape(node.label)}  {seconds}  ({done}/{of})")
        self._told = len(run.outcome.executed)
        for node, messages in run.outcome.again[self._retold :]:
            self._out.print(f"again {node.stage}/{escape(node.label)}: {escape('; '.join(messages))}")
        self._retold = len(run.outcome.again)

    def _draw(self, batch: Batch) -> None:
        if batch not in self._lines:
            self._lines[batch] = self._progress.add_task("", total=None, rate="", metrics="")
        label, progress = self._current(batch)
        if progress is None:
            waited = time.time() - batch.started
            self._progress.update(self._lines[batch], description=label, metrics=f"starting, {waited:.0f} s")
            return
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in progress["metrics"].items())
        self._progress.update(
            self._lines[batch],
            description=label,
            total=progress["total"],
            completed=progress["step"],
            rate=_pace(progress),
            metrics=escape(f"{progress['note']} {metrics}".strip()),
        )

    def _current(self, batch: Batch) -> tuple[str, dict[str, Any] | None]:
        """The label and the last progress of the node that the batch is at."""
        reports = {node: read_progress(self._store, node.stage, node.fingerprint) for node in batch.nodes}
        node = max(batch.nodes, key=lambda node: (reports[node] or {}).get("updated", 0.0))
        return escape(f"{node.stage}/{node.label}"), reports[node]


def _steps(progress: dict[str, Any]) -> str:
    """`12/40  2.5/s 0:00:11 left`."""
    return f"{progress['step']}/{progress['total']}  {_pace(progress)}".rstrip()


def _pace(progress: dict[str, Any]) -> str:
    """Steps per second and the time that is left at that rate: `2.5/s 0:01:20 left`; nothing before there is a rate."""
    if not progress["rate"]:
        return ""
    left = timedelta(seconds=round((progress["total"] - progress["step"]) / progress["rate"]))
    return f"{progress['rate']:.2g}/s {left} left"


def read_progress(store: Store, stage: str, fingerprint: str) -> dict[str, Any] | None:
    """What a running node last reported, or None."""
    try:
        progress: dict[str, Any] = json.loads((store.job(stage, fingerprint) / PROGRESS).read_text())
    except (OSError, ValueError):
        return None
    return progress
