"""The verb `status`: lines for pipes, an object for scripts, and nothing that it changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from orchestrator import status
from orchestrator.__main__ import main
from orchestrator.command import Command, Study
from stages.store import PROGRESS
from tests.conftest import carry_out, study
from tests.orchestrator.test_watch import claimed

pytestmark = pytest.mark.usefixtures("toys")

REPORT = {"step": 1, "total": 4, "rate": 0.5, "updated": 4e9, "note": "\x1b[2J", "metrics": {"loss": 0.5}}


def act(found: Study, *flags: str) -> None:
    assert status.verb(found, Command("status", None, frozenset(flags), ["+experiment=toy"])) == 0


def begun(store: Path) -> Study:
    """A study whose first node runs."""
    found = Study(*study(store))
    folder = claimed(next(iter(found.graph.nodes.values())), found.store)
    (folder / PROGRESS).write_text(json.dumps(REPORT))
    return found


def test_plain_lines_have_every_node_the_progress_and_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    act(begun(tmp_path))
    out = capsys.readouterr().out
    lines = [line.rstrip() for line in out.splitlines() if line.strip()]
    assert "\x1b" not in out
    assert lines[0].split() == ["state", "stage", "label", "fingerprint", "reason"]
    assert [line.split()[0] for line in lines[2:7]] == ["running", "run", "run", "run", "run"]
    assert lines[7].endswith(" node references, 5 distinct: 1 in flight (1 running, 0 queued), 4 to run")
    assert lines[8:] == [
        "toy_base/base: ━━──────── 25%  1/4  0.5/s 0:00:06 left  <U+001B>[2J  loss 0.5",
        "about 0:00:06 left, without 4 of unknown duration",
        "what it prints: python -m orchestrator logs toy_base/base -f +experiment=toy",
    ]


def test_an_object_for_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    act(begun(tmp_path), "--json")
    shown = json.loads(capsys.readouterr().out)
    assert shown["nodes"][0]["progress"] == REPORT and shown["nodes"][0]["seconds"] is None
    assert shown["left"] == {"seconds": 6.0, "unknown": 4}
    assert [each["command"].split()[3] for each in shown["next"]] == ["logs"]


def test_what_json_has_no_number_for_is_null(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = begun(tmp_path)
    node = next(iter(found.graph.nodes.values()))
    report = {**REPORT, "metrics": {"loss": float("nan"), "norm": float("inf"), "reward": 0.5}}
    (found.store.job(node.stage, node.fingerprint) / PROGRESS).write_text(json.dumps(report))
    act(found, "--json")
    shown = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert shown["nodes"][0]["progress"]["metrics"] == {"loss": None, "norm": None, "reward": 0.5}
    act(found)
    assert "loss nan  norm inf  reward 0.5" in capsys.readouterr().out


def test_what_is_done_has_its_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Study(*study(tmp_path))
    carry_out(found.graph, found.store)
    act(found, "--json", "--watch")
    *_, last = capsys.readouterr().out.splitlines()
    shown = json.loads(last)
    assert all(node["seconds"] >= 0 and node["progress"] is None for node in shown["nodes"])
    assert shown["left"] is None and shown["counts"]["done"] == 5


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "+experiment=smoke", f'store="{tmp_path}/none"']) == 0
    assert "to run the rest: python -m orchestrator run +experiment=smoke" in capsys.readouterr().out
    assert os.listdir(tmp_path) == []
