"""The page of a comparison: one HTML file with the numbers, and side by side what both wrote where a problem moved.

As in `orchestrator.page`, what a model wrote is data: JSON in which no `<` is left, inserted as text alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from orchestrator import answers, comparison, page
from orchestrator.answers import Problem
from orchestrator.comparison import Comparison


def write(file: Path, found: Sequence[Comparison]) -> None:
    """Write the page of these comparisons, whole or not at all."""
    page.put(file, render(found))


def render(found: Sequence[Comparison]) -> str:
    """The page as text."""
    rows = [row for number, each in enumerate(found) for row in _rows(number, each)]
    title = ", ".join(f"{each.before.name} -> {each.after.name}" for each in found)
    benchmarks = list(dict.fromkeys(row["benchmark"] for row in rows))
    counts = {kind: sum(row["flip"] == kind for row in rows) for kind in ("right", "wrong", "")}
    return page.fill(
        "pair.html.jinja",
        ("text.js", "pair.js", "list.js"),
        title=title,
        comparisons=found,
        lacking=comparison.lacking,
        benchmarks={name: sum(row["benchmark"] == name for row in rows) for name in benchmarks},
        counts=counts,
        names=[[each.before.name, each.after.name] for each in found],
        problems=rows,
    )


def _rows(number: int, found: Comparison) -> Iterator[dict[str, Any]]:
    """The problems that moved, those that flipped first."""
    folders = {moved.rows for moved in found.moved}
    wanted = {rows: {moved.id for moved in found.moved if moved.rows == rows} for rows in folders}
    read = {
        rows: [{each.id: each for each in answers.read(folder, ids)} for folder in rows] for rows, ids in wanted.items()
    }
    for moved in sorted(found.moved, key=lambda each: (each.flip == "", each.benchmark)):
        ours, theirs = (side.get(moved.id) for side in read[moved.rows])
        if ours is not None and theirs is not None:
            yield {
                "pair": number,
                "benchmark": moved.benchmark,
                "id": moved.id,
                "flip": moved.flip,
                "shares": [moved.before, moved.after],
                "gold": ours.gold,
                "prompts": [ours.prompt, theirs.prompt],
                "sides": [_answers(ours), _answers(theirs)],
            }


def _answers(problem: Problem) -> list[dict[str, Any]]:
    return [page.plain_answer(answer) for answer in problem.answers]
