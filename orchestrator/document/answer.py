"""The answer: from which checkpoint RL should start, where seeds tell; else that there is none yet, and what would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from orchestrator import best, learned, names
from orchestrator.differences import Difference
from orchestrator.document import provenance, resets
from orchestrator.document.again import Again, listed
from orchestrator.document.blocks import Block, Command, Folded, Items, Missing, Paragraph
from orchestrator.document.material import Material
from orchestrator.document.rows import differences
from orchestrator.graph import Node

#: Nodes that failed or are blocked, and are listed one by one.
LISTED = 12


def decision(material: Material) -> Iterator[Block]:
    """The decision, or why there is none yet; and what a reader must know to weigh it."""
    found = material.results.best
    start = f"Start RL from {_start(material, found.rows[0])}: " if found.state == "best" else ""
    yield Paragraph(f"{start}{found.headline}", "" if found.state == "nothing" else "lead")
    if found.detail:
        yield Paragraph(found.detail)
    if command := found.command(material.given):
        yield Command(command)
    for note in learned.notes(material.study.graph.nodes.values(), material.study.store):
        yield Paragraph(f"{note}. Its row is that of its start.")
    made = list(_differences(material, found))
    if made and found.state in ("one seed", "partial"):
        yield Folded("What is there so far, which decides nothing: another training may say otherwise", [Items(made)])
    elif made:
        yield Items(made)
    yield from resets.caution(material)
    yield from provenance.caution(material)
    if found.state in ("best", "level"):
        yield Paragraph("Intervals are of 95 % each, not of all of them together.", "note")


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
        command = again.rows(again.owners.get(entry.node.fingerprint, ()))
        yield Missing(f"{names.full(entry.node)}, {entry.state}", entry.reason, command)
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


def _differences(material: Material, of: best.Best) -> Iterator[str]:
    """Rows that are not compared for want of seeds, and every difference of the study in the column that decides."""
    others = [name for name, lines in material.rows.lines.items() if lines[0].rl is not None and name not in of.rows]
    if others and of.rows:
        yield f"Not compared, as they have fewer seeds: {best.listed(others)}."
    made = []
    for members in differences(material.study.experiment).values():
        sides = material.study.experiment.differences[members[0]]
        variant, reference = (_shown(material, side) for side in (sides.variant, sides.reference))
        found = _found(material, of.column, variant, reference)
        if found is not None:
            called = best.CALLED.get(of.column, of.column)
            made.append(f"{_changing(material, variant, reference)} the {called} by {_points(found)}.")
    yield from sorted(made, key=lambda text: not text.startswith("Rejuvenating"))


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
    """The difference with its interval, and what it says; one seed, or a part of several, says nothing."""
    low, high = found.interval
    said = {"higher": "better", "lower": "worse"}.get(found.verdict, "the interval includes 0")
    if found.wanted < 2:
        said = "one seed: the interval is over its problems alone"
    elif found.seeds < found.wanted:
        said = f"{found.seeds} of {found.wanted} seeds so far"
    return f"{100 * found.mean:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}] ({said})"


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
