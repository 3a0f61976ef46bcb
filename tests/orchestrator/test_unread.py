"""What nobody reads is not planned, and a stage that runs for its data alone says so."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.__main__ import main
from tests import tiny_models
from tests.conftest import study


def planned(capsys: pytest.CaptureFixture[str], *overrides: str) -> tuple[dict[str, str], list[str]]:
    """Stage -> reason, and the notes."""
    assert main(["plan", "--json", "+experiment=tiny_math", "only=[ModSFT]", "benchmark=[]", *overrides]) == 0
    found = json.loads(capsys.readouterr().out)
    return {node["stage"]: node["reason"] for node in found["nodes"]}, found["notes"]


def test_a_stage_that_makes_data_runs_where_they_are_read_and_only_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tiny_models.base(tmp_path / "base")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": f"{n}", "completion": "x"}) + "\n" for n in range(64)))
    words = [f"base={base}", "~diagnoses", "~contamination", f"store={tmp_path / 'store'}"]
    assert planned(capsys, *words)[0]["pretrain"] == "new; for its data sets"
    assert planned(capsys, *words, f"demonstrations={rows}")[0].keys() == {"sft"}
    assert planned(capsys, *words[1:])[0]["pretrain"] == "new"


def test_what_makes_the_base_is_planned_where_a_variant_names_it(tmp_path: Path, toys: None) -> None:
    variants: dict[str, list[Any]] = {"A": ["toy_base"]}
    _, graph, _ = study(tmp_path, variants)
    assert [node.stage for node in graph.nodes.values()] == ["toy_base"]


def test_a_key_without_effect_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = planned(capsys, "replicated=[ModSFT]", f"store={tmp_path}")[1]
    assert any(note.startswith("replicated=[ModSFT]: has no effect without seeds") for note in notes)
    assert any(note.startswith("benchmark=[]: nothing is evaluated") for note in notes)
    notes = planned(capsys, "replicated=[ModSFT]", "seeds=[0,1]", f"store={tmp_path}")[1]
    assert not any(note.startswith("replicated") for note in notes)
