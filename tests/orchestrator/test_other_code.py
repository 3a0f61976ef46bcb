"""What other code has made counts as published, and whoever plans is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import stages
from orchestrator import other_code, plan, status
from orchestrator.command import Command, Study
from stages import artifact
from tests.conftest import TOYS, carry_out, study


@pytest.fixture
def toys_of_our_own(toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Toy stages that a test may edit."""
    mine = tmp_path / "toys"
    shutil.copytree(TOYS / "stages", mine)
    monkeypatch.setattr(stages, "__path__", [*stages.__path__[:-1], str(mine)])
    return mine


def test_an_edit_of_a_stage_is_told_and_runs_nothing(
    tmp_path: Path, toys_of_our_own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Study(*study(tmp_path / "store"))
    carry_out(found.graph, found.store)
    before = plan.make(found.graph, found.store)
    assert {entry.reason for entry in before} == {"published"} and not other_code.notes(before, found.store)

    file = toys_of_our_own / "toy_train.py"
    file.write_text(file.read_text() + "\nLIMIT = 1\n")
    after = plan.make(found.graph, found.store)
    assert {entry.state for entry in after} == {"done"}
    assert {entry.reason for entry in after if entry.node.stage == "toy_train"} == {plan.OTHER_CODE}
    assert {entry.reason for entry in after if entry.node.stage != "toy_train"} == {"published"}
    [note] = other_code.notes(after, found.store)
    assert "made by other code of the stage toy_train" in note and "changed: stages.toy_train)" in note

    for flags, shown in ((frozenset[str](), f"note: {note}"), (frozenset({"--json"}), json.dumps(note))):
        assert status.verb(found, Command("status", None, flags, ["+experiment=toy"])) == 0
        assert shown in capsys.readouterr().out


def test_a_record_that_names_no_code_is_only_published(tmp_path: Path, toys: None) -> None:
    _, graph, store = study(tmp_path)
    carry_out(graph, store)
    for entry in plan.make(graph, store):
        file = entry.path / artifact.RECORD
        record = json.loads(file.read_text())
        del record["code"]
        file.write_text(json.dumps(record))
    store.refresh()
    assert {entry.reason for entry in plan.make(graph, store)} == {"published"}
