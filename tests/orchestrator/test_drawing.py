"""The lines of a tree: a word and a sign for each state, in any width, and nothing that others wrote is executed."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator import drawing, tree
from orchestrator.drawing import SHOWN, Drawing, Facts, Report
from orchestrator.plan import STATES, Entry
from stages.store import Store
from tests.orchestrator.test_tree import changed, entry, study


def console(width: int = 80, encoding: str = "utf-8", colour: str | None = "truecolor") -> Console:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(force_terminal=True, width=width, height=40, file=out, color_system=colour, highlight=False)  # type: ignore[arg-type]


def drawn(
    entries: list[Entry], store: Path, *, report: Report | None = None, folds: bool = True, **given: object
) -> str:
    """What a terminal shows of a tree."""
    out = console(**given)  # type: ignore[arg-type]
    reports = {each.node.fingerprint: report for each in entries if each.state == "running"}
    out.print(Drawing(Facts(Store(store)), out, folds=folds).tree(tree.grow(entries), reports))
    file = out.file
    assert isinstance(file, io.TextIOWrapper) and isinstance(file.buffer, io.BytesIO)
    file.flush()
    return file.buffer.getvalue().decode(given.get("encoding", "utf-8"))  # type: ignore[arg-type]


REPORT: Report = {
    "step": 12,
    "total": 20,
    "rate": 2.5,
    "updated": time.time() + 1e6,
    "note": "",
    "metrics": {"loss": 0.3129},
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_state_is_a_sign_and_a_word_whatever_the_colour(tmp_path: Path, state: str, encoding: str) -> None:
    word, sign, plain, _ = SHOWN[state]
    (line,) = drawn([entry("sft", "V", state)], tmp_path, colour=None, encoding=encoding).splitlines()
    assert line.startswith(f"{sign if encoding == 'utf-8' else plain} {word:8}sft/V")
    assert len({shown[:3] for shown in SHOWN.values()}) == len(STATES)


def test_progress_rate_time_left_and_metrics(tmp_path: Path) -> None:
    entries = [entry("sft", "V", "running")]
    line = drawn(entries, tmp_path, report=REPORT, width=120, colour=None).strip()
    assert line == "● running sft/V  ━━━━━━──── 60%  12/20  2.5/s 0:00:03 left  loss 0.3129"
    before = {**REPORT, "step": 0, "rate": 0.0, "note": "loading", "metrics": {}}
    assert drawn(entries, tmp_path, report=before, width=120, encoding="ascii", colour=None).strip() == (
        "> running sft/V  ---------- 0%  0/20  loading"
    )


def test_a_node_that_says_nothing_for_a_while(tmp_path: Path) -> None:
    report = {**REPORT, "updated": time.time() - 3700}
    assert "  silent for 1:01:4" in drawn(
        [entry("sft", "V", "running")], tmp_path, report=report, width=120, colour=None
    )


def test_why_a_node_failed_is_beside_it(tmp_path: Path) -> None:
    failed = entry("sft", "V", "failed", reason="failed before: too warm")
    assert drawn([failed], tmp_path, colour=None).strip() == "✗ failed  sft/V  failed before: too warm"


def test_the_evaluations_of_a_checkpoint_are_counted(tmp_path: Path) -> None:
    entries = changed(changed(study(chains=1), "evaluate/V0.b1", "run"), "evaluate/V0.b2", "failed")
    lines = [line.strip() for line in drawn(entries, tmp_path, colour=None).splitlines()]
    assert lines[2].endswith("✗ failed  evaluate x4  2/4 done")
    assert lines[3].endswith("✗ failed  evaluate/V0.b2")


HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]x[/red]\n\u202e"


def test_names_reasons_and_metrics_are_text(tmp_path: Path) -> None:
    entries = [entry("sft", HOSTILE, "running"), entry("sft", f"{HOSTILE}2", "failed", reason=HOSTILE)]
    report = {**REPORT, "note": HOSTILE, "metrics": {HOSTILE: 1.0}}
    shown = drawn(entries, tmp_path, report=report, width=400, colour=None)
    assert "\x1b" not in shown and "\x07" not in shown and "\u202e" not in shown
    assert shown.count("<U+001B>[2J<U+001B>]0;owned<U+0007>[red]x[/red]<U+000A><U+202E>") == 5
    assert len(shown.splitlines()) == 3  # each on its line, below the group of both


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_narrow_terminal_folds_or_cuts_and_no_line_is_wider(tmp_path: Path, width: int) -> None:
    entries = study(chains=1) + [entry("sft", "a_very_long_name" * 10, "running")]
    folded = drawn(entries, tmp_path, report=REPORT, width=width, colour=None).splitlines()
    cut = drawn(entries, tmp_path, report=REPORT, width=width, colour=None, folds=False).splitlines()
    assert max(map(len, [*folded, *cut])) <= width
    assert len(cut) == sum(branch.lines for branch in tree.grow(entries)) < len(folded)
    assert "".join(line.strip(" │├└─") for line in folded).count("a_very_long_name") >= 5


def test_a_reason_that_blocks_many_is_said_once() -> None:
    entries = [
        entry("sft", "A", "blocked", reason="base=x: no such folder"),
        entry("sft", "B", "blocked", reason="base=x: no such folder"),
        entry("grpo", "A", "blocked", reason="needs sft/A, which is blocked"),
    ]
    assert drawing.blocks(entries) == ["base=x: no such folder"]


def test_a_tally_and_a_time() -> None:
    assert drawing.tally(study(chains=1)) == "11 done"
    assert [drawing.lasting(seconds) for seconds in (19.4, 599, 1204)] == ["19 s", "599 s", "0:20:04"]
