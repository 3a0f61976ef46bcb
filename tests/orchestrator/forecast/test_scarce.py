"""Fewer rows than a stage needs: refused while it is planned, with both numbers; what suffices passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment import Data
from orchestrator.forecast import scarce
from orchestrator.graph import Node
from orchestrator.sources import Sources
from stages.store import Store

#: Eight rows of every column that is read.
ROWS = '{"prompt": "a", "completion": "b", "answer": "1", "question": "q"}\n' * 8
FIELDS = {name: f"{{{{ {name} }}}}" for name in ("prompt", "completion", "answer", "question")}
RL = {"prompts": 4, "validation_problems": 4}


def said(stage: str, kind: str, config: dict[str, Any], folder: Path, split: str | None = None) -> list[str]:
    (folder / "rows.jsonl").write_text(ROWS)
    data = Data(path=str(folder / "rows.jsonl"), split=split, fields=FIELDS)
    source = Sources(folder).data(data, "problems", None)
    node = Node(stage=stage, version=1, config=config, inputs={kind: source}, label="X")
    found = scarce.errors([node, node], Store(folder))
    return [each.replace(str(folder / "rows.jsonl"), "F") for each in found]


@pytest.mark.parametrize(
    ("stage", "kind", "config", "message"),
    [
        (
            "sft",
            "demonstrations",
            {"batch": 9, "samples": None},
            "sft.batch=9: sequences in a step, but F has 8 rows; allowed: at most 8",
        ),
        (
            "sft",
            "demonstrations",
            {"batch": 5, "samples": 4},
            "sft.batch=5: sequences in a step, but sft.samples=4; allowed: at most 4",
        ),
        (
            "sft",
            "demonstrations",
            {"batch": 8, "samples": 9},
            "sft.samples=9: but F has 8 rows; allowed: at most 8, or null for all",
        ),
        ("grpo", "problems", RL | {"prompts": 9}, "grpo.prompts=9: problems in a rollout, but F has 8 rows"),
        ("grpo", "problems", RL | {"validation_problems": 9}, "grpo.validation_problems=9: held out, but F has 8 rows"),
        ("attribute", "calibration", {"samples": 9}, "attribute.samples=9: but F has 8 rows; allowed: at most 8"),
        ("diagnose", "calibration", {"samples": 9}, "diagnose.samples=9: but F has 8 rows; allowed: at most 8"),
        ("evaluate", "benchmark", {"problems": 9}, "evaluate.problems=9: but F has 8 rows; allowed: 8, or null"),
    ],
)
def test_too_few_rows(stage: str, kind: str, config: dict[str, Any], message: str, tmp_path: Path) -> None:
    (found,) = said(stage, kind, config, tmp_path)
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("stage", "kind", "config"),
    [
        ("sft", "demonstrations", {"batch": 8, "samples": None}),
        ("sft", "demonstrations", {"batch": 4, "samples": 4}),
        ("grpo", "problems", RL),
        ("grpo", "problems", {"prompts": 8, "validation_problems": 0}),
        ("attribute", "calibration", {"samples": 8}),
        ("evaluate", "benchmark", {"problems": None}),
        ("evaluate", "benchmark", {"problems": 8}),
        ("toy", "demonstrations", {}),
    ],
)
def test_enough_rows(stage: str, kind: str, config: dict[str, Any], tmp_path: Path) -> None:
    assert said(stage, kind, config, tmp_path) == []


def test_a_part_of_the_rows_counts_as_that(tmp_path: Path) -> None:
    config = {"batch": 4, "samples": None}
    assert "F has 3 rows" in said("sft", "demonstrations", config, tmp_path, "[:3]")[0]


def test_what_is_held_out_leaves_too_few(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(ROWS)
    source = Sources(tmp_path).data(Data(path=str(tmp_path / "rows.jsonl"), fields=FIELDS), "problems", None)
    for held, messages in ((4, 0), (5, 1), (8, 1)):
        config = {"prompts": 4, "validation_problems": held}
        node = Node(stage="grpo", version=1, config=config, inputs={"problems": source}, label="X")
        found = scarce.held_out([node], Store(tmp_path))
        assert len(found) == messages and scarce.errors([node], Store(tmp_path)) == []
    assert "grpo.validation_problems=8 leaves 0 to train on; allowed: together at most 8" in found[0]
