"""The verb `compare`: two variants, or two experiments, side by side: what changed, what flipped, and what they wrote.

What a model wrote is hostile text; see `orchestrator.browse`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from launch.escape import inline, visible
from orchestrator import answers, comparison, estimate, pair_page, readable, side, tables, view
from orchestrator.answers import Answer, Problem
from orchestrator.command import DONE, FAILED, Command, Study
from orchestrator.comparison import Comparison
from orchestrator.flips import Moved
from orchestrator.pooling import Change
from orchestrator.tables import MISSING

#: Flag: a page for a browser beside the lines.
HTML = "--html"

#: Problems that are shown of each kind of flip, and lines and characters of a text that are.
FIRST, LINES, CHARACTERS = 2, 8, 600
#: Columns from which on two texts stand side by side.
ABREAST = 100

WHAT = (
    "change: the second minus the first, in points, paired by problem [95 % interval]; higher, lower: it excludes 0.\n"
    "A problem is right where more than half of its samples are. p: McNemar's exact test of the flips."
)
POOLED = f"Of {{}} seeds; interval: {estimate.NAME}."


def verb(study: Study, command: Command) -> int:
    """Compare what is published of two sides; on the terminal, as an object, or as a page."""
    assert command.node is not None and command.other is not None
    found = [comparison.compare(*each) for each in side.pairs(command.node, command.other, study, command)]
    try:
        _show(study, command, found)
    except readable.Unreadable as error:
        print(inline(f"error: {error}"), file=sys.stderr)
        return FAILED
    return DONE if any(each.benchmarks for each in found) else FAILED


def _show(study: Study, command: Command, found: Sequence[Comparison]) -> None:
    """Show comparisons as the flags say.

    Raises:
        Unreadable: the generations of a problem that flipped cannot be read.
    """
    page = None
    if HTML in command.flags:
        page = _page_file(study, command)
        pair_page.write(page, found)
    if command.as_json:
        print(json.dumps({"comparisons": [as_json(each) for each in found], "page": page and str(page)}))
        return
    out = view.console()
    for each in found:
        show(each, out)
    if page is not None:
        out.print(f"written to {view.escape(str(page))}", soft_wrap=True)


def show(found: Comparison, out: Console) -> None:
    """The table of a comparison, what is missing, and its first flips."""
    one, other = (inline(each.name) for each in (found.before, found.after))
    out.print(view.escape(f"{one} -> {other}"), soft_wrap=True)
    if found.benchmarks:
        head = ["benchmark", one, other, "change", "to right", "to wrong", "p", "problems"]
        tables.show(head, cells(found), out)
        out.print(view.escape_lines(WHAT))
        changes = [each.change for each in found.benchmarks.values()]
        seeds = max((change.seeds for change in changes if change is not None), default=1)
        if seeds > 1:
            out.print(POOLED.format(seeds))
    else:
        out.print("nothing of it can be compared yet")
    for note in found.notes:
        out.print(f"note: {view.escape(note)}", soft_wrap=True)
    for said in comparison.lacking(found):
        out.print(view.escape(said), soft_wrap=True)
    for kind in ("right", "wrong"):
        flips = [each for each in found.moved if each.flip == kind]
        if flips:
            out.print(f"\nflipped to {kind}: {len(flips)}, the first {min(FIRST, len(flips))} of them:")
        for flip in flips[:FIRST]:
            _show_flip(flip, (one, other), out)


def cells(found: Comparison) -> list[list[str]]:
    """The table as text, without the head: a line for each benchmark, then for each average."""
    lines = [
        [
            name,
            f"{100 * each.before:.1f}",
            f"{100 * each.after:.1f}",
            MISSING if each.change is None else _change(each.change),
            str(each.to_right),
            str(each.to_wrong),
            f"{each.p:.2g}",
            str(each.problems),
        ]
        for name, each in found.benchmarks.items()
    ]
    return lines + [
        [name, "", "", _change(each), "", "", "", str(each.problems)] for name, each in found.averages.items()
    ]


def _change(change: Change) -> str:
    """The change; of several seeds, that of each behind it."""
    each = f" ({', '.join(f'{100 * mean:+.1f}' for mean in change.each)})" if change.each else ""
    return f"{change}{each}"


def as_json(found: Comparison) -> dict[str, Any]:
    """A comparison for scripts: shares, not percent."""
    return {
        "first": {"name": found.before.name, "variants": found.before.variants},
        "second": {"name": found.after.name, "variants": found.after.variants},
        "benchmarks": {
            name: {
                "first": each.before,
                "second": each.after,
                "change": None if each.change is None else _fields(each.change),
                "problems": each.problems,
                "to_right": each.to_right,
                "to_wrong": each.to_wrong,
                "p": each.p,
            }
            for name, each in found.benchmarks.items()
        },
        "averages": {name: _fields(each) for name, each in found.averages.items()},
        "flips": [
            {"benchmark": each.benchmark, "id": each.id, "first": each.before, "second": each.after, "to": each.flip}
            for each in found.moved
            if each.flip
        ],
        "missing": [asdict(each) for each in found.missing],
        "notes": found.notes,
    }


def _fields(change: Change) -> dict[str, Any]:
    return {**asdict(change), "each": list(change.each), "verdict": change.verdict}


def _show_flip(moved: Moved, names: tuple[str, str], out: Console) -> None:
    """A problem, and what each side wrote: of the samples that are what the problem is, the first."""
    problems = [answers.read(folder, {moved.id}) for folder in moved.rows]
    if not all(problems):
        return
    ours, theirs = problems[0][0], problems[1][0]
    gold = "" if ours.gold is None else f", gold {inline(ours.gold)}"
    said = f"{moved.benchmark}, problem {inline(moved.id)}{gold}: {_right(ours)} -> {_right(theirs)}"
    out.print(view.escape(said), soft_wrap=True)
    out.print(Text(cut(ours.prompt, last=True)), soft_wrap=False)
    shown = [_telling(ours, moved.before > 0.5), _telling(theirs, moved.after > 0.5)]
    texts = [Text(f"{each.verdict}\n{cut(each.completion)}") for each in shown]
    if out.width >= ABREAST:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, width=min(out.width, 2 * ABREAST))
        for name in names:
            table.add_column(view.escape(name), ratio=1, overflow="fold")
        table.add_row(*texts)
        out.print(table)
    else:
        for name, text in zip(names, texts, strict=True):
            out.print(Text(inline(f"{name}: ")).append(text), overflow="fold")


def cut(text: str, *, last: bool = False) -> str:
    """The beginning of a text, or its end, as far as the terminal shows it."""
    lines = visible(text.strip("\n")).split("\n")
    kept = "\n".join(lines[-LINES:] if last else lines[:LINES])
    kept = kept[-CHARACTERS:] if last else kept[:CHARACTERS]
    if len(kept) == len("\n".join(lines)):
        return kept
    return f"... {kept}" if last else f"{kept} ..."


def _right(problem: Problem) -> str:
    return f"{problem.right} of {len(problem.answers)} right"


def _telling(problem: Problem, right: bool) -> Answer:
    """The first sample that is right, or is not."""
    alike: Sequence[Answer] = [each for each in problem.answers if (each.verdict == "right") == right]
    return (alike or problem.answers)[0]


def _page_file(study: Study, command: Command) -> Path:
    plain = "-".join(re.sub(r"[^A-Za-z0-9.+_=@-]", "_", str(name)) for name in (command.node, command.other))
    return study.reports / f"compare-{plain[:150]}.html"
