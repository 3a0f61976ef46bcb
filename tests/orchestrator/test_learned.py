"""RL that learned nothing is said wherever its row is shown, and no other RL is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import learned
from orchestrator.graph import Node
from stages import artifact
from stages.store import Store

IDLE = {"reward": -1.0, "zero_deviation": 1.0, "gradient_norm": 0.0, "distance_start": 0.0}
MOVING = {"reward": -0.5, "zero_deviation": 0.5, "gradient_norm": 0.7, "distance_start": 0.01}


@pytest.mark.parametrize(
    ("curve", "said"),
    [
        ([IDLE, IDLE], "in 2 of 2 rollouts all completions of a problem had one reward (mean -1)"),
        ([IDLE], "its gradient was 0; the policy is where it started"),
        (
            [{"zero_deviation": 1.0, "gradient_norm": 0.002}],
            "all completions of a problem had one reward",
        ),  # KL moves it
        ([{**MOVING, "distance_start": 0.0}], "RL learned nothing: the policy is where it started"),
        ([IDLE, MOVING], ""),
        ([MOVING, {**IDLE, "distance_start": 0.01}], ""),
        ([{"reward": -1.0}], ""),  # of a time that recorded less: not known
        ([{"reward": "x", "zero_deviation": None, "gradient_norm": "0"}], ""),
        ([], ""),
    ],
)
def test_what_a_curve_says(curve: list[dict[str, Any]], said: str) -> None:
    found = learned.of_curve(curve)
    assert said in found if said else found == ""


def published(root: Path, curve: list[dict[str, Any]], summary: dict[str, float], stage: str = "grpo") -> Node:
    node = Node(stage=stage, version=1, config={}, inputs={}, label="A+RL")
    draft = root / ".draft"
    draft.mkdir(parents=True)
    (draft / "training.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))
    final = Store(root).final(stage, node.label, node.fingerprint)
    final.parent.mkdir()
    identity = {"fingerprint": node.fingerprint, "identity": node.identity, "label": node.label, "seconds": 1.0}
    artifact.publish(draft, final, {**identity, "config": {}, "inputs": {}, "summary": summary})
    return node


def test_a_published_run_is_named_with_its_reason(tmp_path: Path) -> None:
    node = published(tmp_path, [IDLE], IDLE)
    assert learned.notes([node], Store(tmp_path)) == [f"grpo/A+RL: {learned.of_curve([IDLE])}"]


def test_the_curve_decides_and_not_its_end_alone(tmp_path: Path) -> None:
    end = {**IDLE, "distance_start": 0.01}
    assert learned.notes([published(tmp_path, [MOVING, end], end)], Store(tmp_path)) == []


@pytest.mark.parametrize("summary", [MOVING, {}])
def test_a_run_that_learned_needs_no_curve(tmp_path: Path, summary: dict[str, float]) -> None:
    assert learned.notes([published(tmp_path, [IDLE], summary)], Store(tmp_path)) == []


def test_what_is_not_there_or_no_rl_or_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    absent = Node(stage="grpo", version=1, config={"a": 1}, inputs={}, label="B")
    other = published(tmp_path / "a", [IDLE], IDLE, stage="sft")
    node = published(tmp_path / "b", [IDLE], IDLE)
    folder = Store(tmp_path / "b").find("grpo", node.fingerprint)
    assert folder is not None
    (folder / "training.jsonl").write_text('{"reward": -1')
    assert learned.notes([absent, other], Store(tmp_path / "a")) == []
    assert learned.notes([node], Store(tmp_path / "b")) == []
