"""The graph as boxes: what makes checkpoints and attributions, with evaluations and diagnoses counted inside.

Nodes that differ in seeds alone are one box, so that a study of hundreds of nodes stays a picture.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.document.material import Material
from orchestrator.graph import Node
from orchestrator.plan import Entry

#: Boxes above which leaves of one stage below one box are drawn as one.
MOST = 90

#: What stands inside the box of its checkpoint.
_INSIDE = {"evaluate": "evaluations", "diagnose": "diagnoses"}

#: A state and its sign, so that no colour has to say it.
SIGNS = {"done": "✓", "running": "▶", "queued": "…", "failed": "✗", "run": "○", "blocked": "⊘"}

#: Of several nodes in one box, the state that is said.
_WORST = ("failed", "blocked", "running", "queued", "run", "done")


@dataclass
class Box:
    """Nodes of one stage that differ in their seeds alone; `inside` is kind -> how many of how many are done."""

    key: str
    stage: str
    label: str
    entries: list[Entry]
    parent: str | None
    seconds: float = 0.0
    inside: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def state(self) -> str:
        states = {entry.state for entry in self.entries}
        return next((state for state in _WORST if state in states), "run")

    @property
    def done(self) -> int:
        return sum(entry.state == "done" for entry in self.entries)


def boxes(material: Material) -> list[Box]:
    """The boxes, parents first."""
    keys: dict[str, str] = {}
    found: dict[str, Box] = {}
    for entry in material.entries:
        node = entry.node
        key = keys[node.fingerprint] = _key(node, keys)
        if node.stage in _INSIDE or node.stage == "contamination":
            continue
        parent = _parent(node)
        box = found.setdefault(
            key, Box(key, node.stage, _label(node), [], keys[parent.fingerprint] if parent else None)
        )
        box.entries.append(entry)
        record = material.artifacts.record(node)
        seconds = (record or {}).get("seconds")
        box.seconds += seconds if isinstance(seconds, int | float) else 0.0
    _count_inside(material.entries, keys, found)
    made = list(found.values())
    return made if len(made) <= MOST else _folded(made)


def depths(made: Iterable[Box]) -> dict[str, int]:
    """Key -> how many boxes come before it."""
    found: dict[str, int] = {}
    for box in made:
        found[box.key] = 0 if box.parent is None else found.get(box.parent, -1) + 1
    return found


def places(made: list[Box]) -> dict[str, float]:
    """Key -> its line: leaves one below the other, a parent at the height of its first child."""
    children: dict[str | None, list[Box]] = {}
    for box in made:
        children.setdefault(box.parent, []).append(box)
    found: dict[str, float] = {}
    next_line = 0.0
    waiting = [(box, False) for box in reversed(children.get(None, []))]
    while waiting:
        box, seen = waiting.pop()
        below = children.get(box.key, [])
        if not below:
            found[box.key], next_line = next_line, next_line + 1
        elif seen:
            found[box.key] = found[below[0].key]
        else:
            waiting += [(box, True), *((child, False) for child in reversed(below))]
    return found


def _key(node: Node, keys: dict[str, str]) -> str:
    """What nodes have in common that differ in their seeds alone."""
    config = {name: value for name, value in node.config.items() if name != "seed"}
    inputs = {kind: keys.get(given.fingerprint, given.fingerprint) for kind, given in node.inputs.items()}
    return json.dumps([node.stage, config, {kind: _short(key) for kind, key in inputs.items()}], sort_keys=True)


def _short(key: str) -> str:
    import hashlib

    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _parent(node: Node) -> Node | None:
    """The box that it hangs on: its attribution, else its checkpoint, else any node that it reads."""
    for kind in ("attribution", "checkpoint"):
        given = node.inputs.get(kind)
        if isinstance(given, Node):
            return given
    return next((need for need in node.needs() if need.stage not in _INSIDE), None)


def _label(node: Node) -> str:
    """Its label without the seed that a replica is of."""
    return node.label.partition("@seed=")[0]


def _count_inside(entries: Iterable[Entry], keys: dict[str, str], found: dict[str, Box]) -> None:
    for entry in entries:
        kind = _INSIDE.get(entry.node.stage)
        given = entry.node.inputs.get("checkpoint")
        if kind is None or given is None or keys.get(given.fingerprint) not in found:
            continue
        box = found[keys[given.fingerprint]]
        done, total = box.inside.get(kind, (0, 0))
        box.inside[kind] = (done + (entry.state == "done"), total + 1)


def _folded(made: list[Box]) -> list[Box]:
    """Leaves of one stage below one box as one, wherever there are several."""
    parents = {box.parent for box in made}
    groups = Counter((box.parent, box.stage) for box in made if box.key not in parents)
    kept: dict[tuple[str | None, str], Box] = {}
    left = []
    for box in made:
        group = (box.parent, box.stage)
        if box.key in parents or groups[group] < 2:
            left.append(box)
        elif group not in kept:
            kept[group] = box
            box.label = f"{box.label} and {groups[group] - 1} like it"
            left.append(box)
        else:
            into = kept[group]
            into.entries += box.entries
            into.seconds += box.seconds
            for kind, (done, total) in box.inside.items():
                before = into.inside.get(kind, (0, 0))
                into.inside[kind] = (before[0] + done, before[1] + total)
    return left
