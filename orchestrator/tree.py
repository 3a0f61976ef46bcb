"""The graph as a tree: every node once, below the deepest of what it is made of; folded until it fits a screen.

Leaves of one stage below one node (the evaluations of a checkpoint) are one line; those of them that run or failed are
lines of their own below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.plan import Entry

#: The states that a person looks for: they are never folded away while there is room for them.
LOUD = ("running", "failed")


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One line of the tree, and the lines below it.

    Attributes:
        entries: what the line is about: one node, or several leaves of one stage.
        below: the lines that depend on it.
        hidden: nodes that are folded into it; they are counted, and not shown.
    """

    entries: list[Entry] = field(default_factory=list)
    below: list[Branch] = field(default_factory=list)
    hidden: list[Entry] = field(default_factory=list)

    @property
    def every(self) -> list[Entry]:
        """The nodes of this line and of all below it, each once."""
        found = [*self.entries, *self.hidden, *(entry for branch in self.below for entry in branch.every)]
        return list({entry.node.fingerprint: entry for entry in found}.values())

    @property
    def lines(self) -> int:
        """How many lines it takes, this one included."""
        return 1 + sum(branch.lines for branch in self.below)


def grow(entries: Iterable[Entry]) -> list[Branch]:
    """The tree of a plan, whose entries have inputs before what reads them; what needs nothing is a root."""
    known = {entry.node.fingerprint: entry for entry in entries}
    depth: dict[str, int] = {}
    children: dict[str | None, list[Entry]] = {}
    for key, entry in known.items():
        needs = [need.fingerprint for need in entry.node.needs() if need.fingerprint in depth]
        parent = max(needs, key=depth.__getitem__, default=None)
        depth[key] = 0 if parent is None else depth[parent] + 1
        children.setdefault(parent, []).append(entry)
    return _branches(None, children)


def _branches(parent: str | None, children: dict[str | None, list[Entry]]) -> list[Branch]:
    """What is below a node: leaves first, those of one stage together."""
    leaves: dict[str, list[Entry]] = {}
    grown = []
    for entry in children.get(parent, []):
        key = entry.node.fingerprint
        if key in children:
            grown.append(Branch(entries=[entry], below=_branches(key, children)))
        else:
            leaves.setdefault(entry.node.stage, []).append(entry)
    return [*(_together(group) for group in leaves.values()), *grown]


def _together(leaves: list[Entry]) -> Branch:
    """Leaves of one stage as one line."""
    if len(leaves) == 1:
        return Branch(entries=leaves)
    return Branch(entries=leaves, below=[Branch(entries=[leaf]) for leaf in leaves if leaf.state in LOUD])


def fold(branches: Sequence[Branch], height: int) -> list[Branch]:
    """A tree in at most so many lines, as far as possible: first what is done is folded, then what has not begun."""
    steps: tuple[Callable[[list[Branch]], list[Branch]], ...] = (
        lambda tree: tree,
        lambda tree: [_folded(branch, ("done",)) for branch in tree],
        lambda tree: [_folded(branch, ("run", "queued", "blocked")) for branch in tree],
        _gathered,
        _loud_alone,
    )
    tree = list(branches)
    for step in steps:
        tree = step(tree)
        if sum(branch.lines for branch in tree) <= height:
            return tree
    return _cut(tree, height)


def _folded(branch: Branch, states: tuple[str, ...]) -> Branch:
    """A branch whose largest parts with these states alone are one line each."""
    if branch.below and all(entry.state in states for entry in branch.every):
        own = {entry.node.fingerprint for entry in branch.entries}
        hidden = [entry for entry in branch.every if entry.node.fingerprint not in own]
        return replace(branch, below=[], hidden=hidden)
    return replace(branch, below=[_folded(each, states) for each in branch.below])


def _gathered(tree: Sequence[Branch]) -> list[Branch]:
    """Of siblings, those without anything loud as one line of hidden nodes."""
    loud = [branch for branch in tree if any(entry.state in LOUD for entry in branch.every)]
    quiet = [branch for branch in tree if branch not in loud]
    shown = [replace(branch, below=_gathered(branch.below)) for branch in loud]
    if len(quiet) < 2:
        return [*quiet, *shown]
    return [Branch(hidden=[entry for branch in quiet for entry in branch.every]), *shown]


def _loud_alone(tree: Sequence[Branch]) -> list[Branch]:
    """What is loud without what it is below; all else is one line."""
    every = [entry for branch in tree for entry in branch.every]
    quiet = [entry for entry in every if entry.state not in LOUD]
    order = sorted((entry for entry in every if entry.state in LOUD), key=lambda entry: LOUD[::-1].index(entry.state))
    return [*(Branch(entries=[entry]) for entry in order), *([Branch(hidden=quiet)] if quiet else [])]


def _cut(tree: list[Branch], height: int) -> list[Branch]:
    """The first lines of a flat tree; the others are the last line."""
    kept = tree[: max(0, height - 1)]
    return [*kept, Branch(hidden=[entry for branch in tree[len(kept) :] for entry in branch.every])]
