"""Progress: one file, whole at any time."""

import json
from pathlib import Path

import pytest

from stages import progress
from stages.progress import Progress


def test_a_continued_node_is_not_credited_with_steps_that_others_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "time", lambda: now)
    report = Progress(tmp_path / "progress.json")
    report.update(900, 1000, loss=2.0)
    now = 110.0
    report.update(950, 1000, loss=1.5)
    written = json.loads((tmp_path / "progress.json").read_text())
    assert (written["step"], written["rate"], written["metrics"]) == (950, 5.0, {"loss": 1.5})


def test_it_does_not_write_at_every_step_but_always_at_the_last(tmp_path: Path) -> None:
    report = Progress(tmp_path / "progress.json")
    for step in range(1, 11):
        report.update(step, 10)
        if step < 10:
            assert json.loads((tmp_path / "progress.json").read_text())["step"] == 1
    assert json.loads((tmp_path / "progress.json").read_text())["step"] == 10
