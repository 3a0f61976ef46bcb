"""The answer: from which checkpoint RL should start, and what rejuvenating changes, with the intervals there are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

from orchestrator import names
from orchestrator.differences import Difference
from orchestrator.document.again import Again, listed
from orchestrator.document.artifacts import Lacking
from orchestrator.document.blocks import Block, Command, Folded, Items, Missing, Paragraph
from orchestrator.document.material import Material
from orchestrator.document.rows import differences
from orchestrator.graph import Node
from orchestrator.report import Score

#: Nodes that failed or are blocked, and are listed one by one.
LISTED = 12

#: Standard errors of a difference within which two rows are not told apart.
NEAR = 2


def decision(material: Material, again: Again) -> Iterator[Block]:
    """The decision, or why there is none yet."""
    column = _column(material)
    ends = [name for name, lines in material.rows.lines.items() if lines[0].rl is not None]
    if not ends or column is None:
        yield Paragraph(
            "No row of this study ends with RL on benchmarks, so it decides nothing; what it measured is below."
        )
        return
    scores = {name: score for name in ends if (score := _score(material, name, column)) is not None}
    if not scores:
        open_ = [
            n for name in ends for b in material.study.experiment.benchmarks for n in material.rows.scored(name, b)
        ]
        absent = [node for node in open_ if not material.artifacts.has(node)]
        yield again.missing("The answer", Lacking(f"no row after RL has its {_called(column)} yet", absent))
        return
    most = max(score.seeds[0] for score in scores.values())
    ranked = sorted(scores, key=lambda name: -scores[name].mean)
    fair = [name for name in ranked if scores[name].seeds[0] == most]
    best, seeds = fair[0], f" with {most} seeds each" if most > 1 else ""
    so_far = "" if len(scores) == len(ends) else f" so far ({len(scores)} of {len(ends)} rows after RL are there)"
    close = [_start(material, name) for name in fair[1:] if _level(material, column, scores, (best, name))]
    or_from = f" or one of the {len(close)} that cannot be told from it" if close else ""
    yield Paragraph(
        f"Start RL from {_start(material, best)}{or_from}: after RL its {_called(column)} is {scores[best]} %, the "
        f"highest of {len(fair)} rows{seeds}{so_far}.",
        "lead",
    )
    level = [f"Not told from it: {', '.join(close)} (by an interval of this study, else by {NEAR} standard errors)."]
    yield Items([*(level if close else []), *_comparisons(material, ranked, fair, scores, column)])
    yield Paragraph(
        "The best row was found on the same problems that it is reported on, so its lead is flattered, the more so the "
        "more rows there are; the intervals are of 95 % each, not of all together.",
        "note",
    )


def missing(material: Material, again: Again) -> Iterator[Block]:
    """What is not done, or cannot be read: how much of it, and for each row the command that makes it."""
    for error in material.results.errors:
        yield Missing("A file of an artifact", error)
    entries = [entry for entry in material.entries if entry.state != "done"]
    if not entries:
        yield Paragraph(f"Everything is there: {len(material.entries)} of {len(material.entries)} nodes are published.")
        return
    states = Counter(entry.state for entry in entries)
    counted = ", ".join(f"{count} {state}" for state, count in states.items())
    done = len(material.entries) - len(entries)
    yield Paragraph(
        f"{done} of {len(material.entries)} nodes are published; of the others: {counted}. All of it is made by"
    )
    yield Command(again.everything())
    for entry in [entry for entry in entries if entry.state in ("failed", "blocked")][:LISTED]:
        yield Missing(f"{names.full(entry.node)}, {entry.state}", entry.reason)
    groups: dict[tuple[str, ...], list[Node]] = {}
    for entry in entries:
        groups.setdefault(again.owners.get(entry.node.fingerprint, ()), []).append(entry.node)
    yield Folded(
        f"Row by row: what is missing, and the command that makes it ({len(groups)})",
        [
            Missing(" and ".join(owner) or "For all rows", listed(nodes), again.rows(owner))
            for owner, nodes in groups.items()
        ],
    )


def _comparisons(
    material: Material, ranked: list[str], fair: list[str], scores: dict[str, Score], column: str
) -> Iterator[str]:
    """The next best, and every difference of the study in this column."""
    best = fair[0]
    if len(fair) > 1:
        behind = f"{100 * (scores[best].mean - scores[fair[1]].mean):.1f} points behind"
        yield f"Next is {_start(material, fair[1])}, with {scores[fair[1]]} %, {behind}."
    if ranked[0] != best:
        yield (
            f"Of the rows with fewer seeds, {_start(material, ranked[0])} has {scores[ranked[0]]} %, but that error "
            "knows less of other trainings, so it does not decide."
        )
    made = []
    for members in differences(material.study.experiment).values():
        of = material.study.experiment.differences[members[0]]
        variant, reference = (_shown(material, side) for side in (of.variant, of.reference))
        found = _found(material, column, variant, reference)
        if found is not None:
            made.append(f"{_changing(material, variant, reference)} the {_called(column)} by {_points(found)}.")
    yield from sorted(made, key=lambda text: not text.startswith("Rejuvenating"))


def _level(material: Material, column: str, scores: dict[str, Score], pair: tuple[str, str]) -> bool:
    """Whether two rows are not told apart: by their interval, paired by problem, where the study has it."""
    found = _either(material, column, *pair)
    return not _apart(scores[pair[0]], scores[pair[1]]) if found is None else not found.verdict


def _apart(best: Score, other: Score) -> bool:
    """Whether the best can be told from another one, as if they were of different problems."""
    if best.error is None or other.error is None:
        return False
    return best.mean - other.mean > NEAR * math.hypot(best.error, other.error)


def _changing(material: Material, variant: str, reference: str) -> str:
    """The subject of a sentence about a difference, and its verb."""
    ours, theirs = (material.rows.first(each) for each in (variant, reference))
    same = ours.sft is not None and theirs.sft is not None and ours.sft.fingerprint == theirs.sft.fingerprint
    if same and ours.repair is not None and theirs.repair is None and ours.rl is not None and theirs.rl is not None:
        start, made = _start(material, reference), _start(material, variant)
        how = f"Rejuvenating {start}" if ours.repaired("rho") else f"Fusing {start} with its base"
        return f"{how} ({made}) changes"
    return f"{variant} in place of {reference} changes"


def _points(found: Difference) -> str:
    low, high = found.interval
    verdict = {"higher": "better", "lower": "worse"}.get(found.verdict, "the interval includes 0")
    if found.seeds < found.wanted:
        verdict = f"{found.seeds} of {found.wanted} seeds so far, {verdict}"
    return f"{100 * found.mean:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] ({verdict})"


def _either(material: Material, column: str, one: str, other: str) -> Difference | None:
    """The difference of two rows, whichever way round the study has it."""
    return _found(material, column, one, other) or _found(material, column, other, one)


def _found(material: Material, column: str, variant: str, reference: str) -> Difference | None:
    """The difference of two rows in a column, if the study has it and it is published."""
    experiment, tables = material.study.experiment, material.results.differences
    for name, members in differences(experiment).items():
        of = experiment.differences[members[0]]
        if (_shown(material, of.variant), _shown(material, of.reference)) != (variant, reference):
            continue
        if name in tables.found and column in tables.columns:
            return tables.found[name][tables.columns.index(column)]
    return None


def _shown(material: Material, variant: str) -> str:
    return next((name for name, members in material.rows.replicas.items() if variant in members), variant)


def _start(material: Material, name: str) -> str:
    return material.rows.starts.get(name, name.removesuffix("+RL"))


def _column(material: Material) -> str | None:
    """What is decided on: the overall average, else the last average, else the first benchmark."""
    columns = material.results.table.columns
    averages = [name for name in ("avg", "OOD avg", "ID avg") if name in columns]
    return averages[0] if averages else next(iter(columns), None)


def _called(column: str) -> str:
    return {"avg": "overall average", "ID avg": "ID average", "OOD avg": "OOD average"}.get(column, column)


def _score(material: Material, name: str, column: str) -> Score | None:
    table = material.results.table
    return table.rows[name][table.columns.index(column)] if name in table.rows else None
