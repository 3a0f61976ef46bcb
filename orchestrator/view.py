"""What a person sees on the terminal: plans, submissions, findings. Plain lines where there is no terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape as markup
from rich.table import Table as RichTable

from launch.escape import inline, visible
from orchestrator.finding import Finding
from orchestrator.graph import Graph
from orchestrator.plan import Entry, counts
from orchestrator.submit import Submitted
from orchestrator.why import Answer

if TYPE_CHECKING:
    from orchestrator.gc import Garbage

#: Columns of a line where nobody's terminal sets them: plans and tables are never cut off in a file.
PLAIN_WIDTH = 200


def escape(text: str) -> str:
    """A text of others, which is to be shown as it is: neither markup nor control characters do anything."""
    return markup(inline(text))


def escape_lines(text: str) -> str:
    """A text of ours of several lines, without markup."""
    return markup(text)


def console(*, errors: bool = False) -> Console:
    """Standard output (or standard error), as wide as the terminal, or as plain text needs it."""
    found = _Console(highlight=False, emoji=False, stderr=errors)
    return found if found.is_terminal else _Console(highlight=False, emoji=False, stderr=errors, width=PLAIN_WIDTH)


class _Console(Console):
    """A console that leaves it to `orchestrator.start` how a process ends whose reader has had enough."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


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
        print(visible(prompt))


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
