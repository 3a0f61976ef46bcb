"""Dynamic sampling: groups without deviation are replaced, by the same problems however often a run was stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stages import grpo
from stages.contract import Input
from stages.grading.pool import Grade, Graders
from stages.training import grpo_trainer
from stages.training.selection import Group, Selection
from tests import tiny_models
from tests.stages.test_grpo import config
from tests.stages.test_sft import save_always
from tests.stages.training.test_grpo import context, rows

pytestmark = pytest.mark.slow

DYNAMIC = config(dynamic_sampling=True, max_draws=4, validate_every=0, validation_problems=0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Input]:
    folder = tmp_path_factory.mktemp("inputs")
    return {"checkpoint": tiny_models.source(tiny_models.base(folder / "base")), "problems": problems(folder)}


def problems(folder: Path) -> Input:
    """Sixteen problems; every other one is hopeless, as its answer says."""
    file = folder / "problems.jsonl"
    given = [
        {"prompt": row["prompt"], "answer": "never" if number % 2 else "7"}
        for number, row in enumerate(tiny_models.arithmetic(16))
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in given))
    reading = {"fields": {"prompt": "{{ prompt }}", "answer": "{{ answer }}"}}
    return Input(fingerprint="p", path=file, reading=reading)


@pytest.fixture(autouse=True)
def graders(monkeypatch: pytest.MonkeyPatch) -> None:
    def grade(self: Graders, kind: str, answers: Any) -> list[Grade]:
        return [Grade(text, answer != "never" and len(text) % 2 == 0) for answer, text in answers]

    monkeypatch.setattr(Graders, "grade", grade)


def selected(patch: pytest.MonkeyPatch) -> list[list[Group]]:
    """The groups of every rollout, as they are chosen."""
    found: list[list[Group]] = []
    select = Selection.select

    def noted(self: Selection, given: Any) -> Any:
        chosen = select(self, given)
        found.append(list(self._groups))
        return chosen

    patch.setattr(Selection, "select", noted)
    return found


def test_hopeless_problems_are_replaced(tmp_path: Path, inputs: dict[str, Input], monkeypatch: Any) -> None:
    groups = selected(monkeypatch)
    grpo.run(DYNAMIC, context(tmp_path, inputs))
    curve = rows(tmp_path / "output" / "training.jsonl")
    assert len(groups) == DYNAMIC.rollouts
    kept = [group for rollout in groups for group in rollout if group.deviates]
    assert len(kept) > DYNAMIC.rollouts * DYNAMIC.prompts / 2  # as many as would have deviated without it
    assert all(group.row["answer"] == "7" for group in kept)
    for rollout, row in zip(groups, curve[::2], strict=True):
        assert len(rollout) == DYNAMIC.prompts
        assert row["zero_deviation"] == sum(not group.deviates for group in rollout) / DYNAMIC.prompts
        assert 0 < row["dropped_groups"] < 1


def test_a_run_that_goes_on_replaces_them_by_the_same(
    tmp_path: Path, inputs: dict[str, Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    grpo.run(DYNAMIC, context(tmp_path / "whole", inputs))
    save_always(monkeypatch)
    step = grpo_trainer.PolicyTrainer.training_step

    def killed(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 5:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(grpo_trainer.PolicyTrainer, "training_step", killed)
        grpo.run(DYNAMIC, context(tmp_path / "cut", inputs))
    grpo.run(DYNAMIC, context(tmp_path / "cut", inputs))
    left, right = (rows(tmp_path / run / "output" / "training.jsonl") for run in ("whole", "cut"))
    assert [{**row, "seconds": 0} for row in left] == [{**row, "seconds": 0} for row in right]


def test_with_one_draw_nothing_is_replaced(tmp_path: Path, inputs: dict[str, Input]) -> None:
    grpo.run(replace(DYNAMIC, max_draws=1), context(tmp_path / "once", inputs))
    grpo.run(replace(DYNAMIC, dynamic_sampling=False), context(tmp_path / "never", inputs))
    once, never = (rows(tmp_path / run / "output" / "training.jsonl") for run in ("once", "never"))
    dropped = {row["rollout"]: row.pop("dropped_groups") for row in once if "dropped_groups" in row}
    assert [{**row, "seconds": 0} for row in once] == [{**row, "seconds": 0} for row in never]
    assert list(dropped.values()) == [row["zero_deviation"] for row in never if "zero_deviation" in row]
