"""RL that learned nothing: no two completions of a problem had different rewards, or the policy never moved.

GRPO learns from how rewards differ within a group. Where they never do, each advantage is 0, and so is the gradient:
such a run ends like any other, and its row is its start under another name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.graph import Node
from orchestrator.names import full
from stages import jsonfile
from stages.store import Store

#: Numbers of a record, means over the last steps or of the last one, and what each is if RL learned nothing.
_SIGNS = {"zero_deviation": 1.0, "gradient_norm": 0.0, "distance_start": 0.0}


def notes(nodes: Iterable[Node], store: Store) -> list[str]:
    """A line for each published RL run that learned nothing."""
    said = ((node, nothing(node, store)) for node in nodes)
    return [f"{full(node)}: {why}" for node, why in said if why]


def nothing(node: Node, store: Store) -> str:
    """Why a published RL run learned nothing, in words; empty if it learned, or is not known, or is no RL run."""
    if node.stage != "grpo":
        return ""
    record = store.record(node.stage, node.fingerprint)
    summary = record.get("summary") if record else None
    if not isinstance(summary, dict) or not any(summary.get(name) == value for name, value in _SIGNS.items()):
        return ""  # at the end it had something to learn from, and the curve need not be read
    folder = store.find(node.stage, node.fingerprint)
    try:
        assert folder is not None
        curve = [jsonfile.parse(line) for line in jsonfile.text(folder / "training.jsonl").splitlines()]
    except (AssertionError, OSError, ValueError):
        return ""
    return of_curve([row for row in curve if isinstance(row, dict)])


def of_curve(curve: Sequence[Mapping[str, Any]]) -> str:
    """Why a run with this training.jsonl learned nothing, in words; empty if it learned.

    >>> of_curve([{"reward": -1.0, "zero_deviation": 1.0}])
    'RL learned nothing: in 1 of 1 rollouts all completions of a problem had one reward (mean -1)'
    """
    columns = ("zero_deviation", "gradient_norm", "distance_start", "reward")
    alike, norms, moved, rewards = (
        [row[name] for row in curve if isinstance(row.get(name), int | float)] for name in columns
    )
    whole = f" (mean {sum(rewards) / len(rewards):.3g})" if rewards else ""
    found = []
    if alike and all(each == 1 for each in alike):
        found.append(f"in {len(alike)} of {len(alike)} rollouts all completions of a problem had one reward{whole}")
    if norms and all(each == 0 for each in norms):
        found.append("its gradient was 0")
    if moved and moved[-1] == 0:
        found.append("the policy is where it started")
    return f"RL learned nothing: {'; '.join(found)}" if found else ""
