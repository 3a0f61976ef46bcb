"""The verbs `run` and `retry`: what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import carry_out, tables, view
from orchestrator.command import DONE, FAILED, Command, Study
from tests.conftest import study

pytestmark = pytest.mark.usefixtures("toys")


def test_what_a_stage_says_of_its_failure_is_only_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "exit 3 # \x1b[31m\x1b]0;title\x07\u202e"
    found = Study(
        *study(tmp_path / "store", {"Bad": [{"toy_shell": {"command": command}}, {"toy_probe": {"digit": 0}}]})
    )
    assert carry_out.verb(found, Command("run", None, frozenset(), [])) == FAILED
    said = capsys.readouterr().err
    text = "exit 3 # <U+001B>[31m<U+001B>]0;title<U+0007><U+202E>: exit code 3"
    assert f"error: toy_shell/Bad: toy_shell.command={text}\n" in said
    # The worker's own words are those of this process here, and of a log elsewhere.
    assert "\x1b" not in said.partition("error: ")[2]


def test_what_others_have_named_is_only_text_in_the_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Study(*study(tmp_path / "store", {"[red]:x:": [{"toy_train": {"epochs": 1}}]}))
    assert carry_out.verb(found, Command("run", None, frozenset(), [])) == DONE
    said = capsys.readouterr().out
    assert "done toy_train/[red]:x:  0 s  (2/2)\n[red]:x:: " in said
    tables.show(["\x1b[0mname", "\x9b1m"], [["[red]\x1b[31m", "\x07"]], view.console())
    words = capsys.readouterr().out.split()
    assert words[:2] == ["<U+001B>[0mname", "<U+009B>1m"] and words[-2:] == ["[red]<U+001B>[31m", "<U+0007>"]


def test_nothing_to_do_again_is_an_object_for_scripts_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = Study(*study(tmp_path / "store"))
    assert carry_out.retry_verb(found, Command("retry", None, frozenset({"--json"}), [])) == DONE
    said = capsys.readouterr()
    assert json.loads(said.out) == {"again": [], "left_out": []}
    assert said.err == "nothing of it failed or was lost\n"
