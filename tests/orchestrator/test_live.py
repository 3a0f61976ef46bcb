"""What a terminal shows while a study goes on, and that without one there are plain lines and no escape codes."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator import live, plan, run
from orchestrator.command import Command, Study
from stages.store import PROGRESS
from tests.conftest import cluster, study
from tests.orchestrator.test_learned import IDLE, published
from tests.orchestrator.test_watch import claimed

pytestmark = pytest.mark.usefixtures("toys")

COMMAND = Command("run", None, frozenset(), ["+experiment=toy"])


def terminal(width: int = 80, height: int = 24) -> Console:
    return Console(force_terminal=True, width=width, height=height, file=io.StringIO(), highlight=False)


def printed(out: Console) -> str:
    """What was written, without colours and cursor movements."""
    assert isinstance(out.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.file.getvalue())


def carried_out(found: Study, out: Console, launcher: str = "local") -> run.Outcome:
    found.store.root.mkdir(exist_ok=True)
    with live.Watch(found, COMMAND, out) as watch:
        return run.Run(found.graph, found.store, cluster(launcher), watch).carry_out()


def test_a_run_on_a_terminal_draws_the_tree_below_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "REDRAW", 0.0)
    out = terminal()
    carried_out(Study(*study(tmp_path / "store", seconds=0.3)), out)
    shown = printed(out)
    assert f"toy in {tmp_path}"[:70] in shown.replace("\n", "")
    assert "● running toy_base/base" in shown and "starting, 0 s" in shown
    assert re.search(r"● running toy_train/\w+  ━*─* \d+%  \d/\d", shown)
    assert re.search(r"✓ done toy_train/Long  \d+ s  \(\d/5\)", shown)
    assert "5 nodes: 5 to run" in shown or "5 nodes: 1 running, 4 to run" in shown
    assert "what it prints: python -m orchestrator logs toy_base/base -f +experiment=toy" in shown


def test_a_run_elsewhere_is_a_line_a_finished_node(tmp_path: Path) -> None:
    out = Console(file=io.StringIO(), width=200, highlight=False)
    carried_out(Study(*study(tmp_path / "store")), out)
    assert isinstance(out.file, io.StringIO)
    lines = out.file.getvalue().splitlines()
    assert lines[0] == "done toy_base/base  0 s  (1/5)"
    assert len(lines) == 5 and all(re.fullmatch(r"done \S+  0 s  \(\d/5\)", line) for line in lines)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 8), (20, 5)])
def test_a_live_picture_fits_the_terminal(tmp_path: Path, width: int, height: int) -> None:
    variants: dict[str, list[Any]] = {
        f"Variant{n}": [{"toy_train": {"epochs": 2, "rate": 14.0 + n}}, {"toy_probe": {"digit": 0}}] for n in range(30)
    }
    found = Study(*study(tmp_path / "store", variants))
    folder = claimed(list(found.graph.nodes.values())[-2], found.store)
    report = {"step": 1, "total": 2, "rate": 0.5, "updated": 0, "note": "", "metrics": {"loss": 1.0}}
    (folder / PROGRESS).write_text(json.dumps(report))
    out = terminal(width, height)
    picture = live.Picture(found, COMMAND, out)
    out.print(picture.fitting(plan.make(found.graph, found.store)))
    lines = printed(out).splitlines()
    assert len(lines) < height and max(map(len, lines)) <= width
    assert any("running" in line for line in lines)


def test_a_watched_study_ends_with_its_whole_tree(tmp_path: Path) -> None:
    found = Study(*study(tmp_path / "store"))
    carried_out(found, Console(file=io.StringIO()), "inline")
    out = terminal()
    with live.Follow(found, COMMAND, out) as follow:
        follow(plan.make(found.graph, found.store))
        follow.tell("\x1b[2J[red]said")
    shown = printed(out)
    assert "<U+001B>[2J[red]said" in shown
    assert shown.rstrip().endswith("5 nodes: 5 done\nthe results so far: python -m orchestrator report +experiment=toy")


def test_a_failure_is_told_with_what_to_do_next(tmp_path: Path) -> None:
    found = Study(*study(tmp_path / "store", {"Bad": [{"toy_train": {"epochs": 2, "limit": 1.0}}]}))
    carried_out(found, Console(file=io.StringIO()), "inline")
    out = terminal(100)
    found.store.refresh()
    out.print(live.Picture(found, COMMAND, out).whole(plan.make(found.graph, found.store)))
    lines = [line.rstrip() for line in printed(out).splitlines()]
    assert lines[3].startswith("2 nodes: 1 done, 1 failed")
    assert lines[1:] == [
        "✓ done    toy_base/base  0 s",
        "└── ✗ failed  toy_train/Bad  failed before: toy_train.limit=1.0: reached 6.0",
        lines[3],
        "why it failed: python -m orchestrator logs toy_train/Bad +experiment=toy",
        "again, what failed: python -m orchestrator retry +experiment=toy",
    ]


def test_rl_that_learned_nothing_is_said_when_it_is_done(tmp_path: Path) -> None:
    node = published(tmp_path / "store", [IDLE], IDLE)
    found = Study(*study(tmp_path / "store"))
    out = Console(file=io.StringIO(), width=200, highlight=False)
    done = run.Run(found.graph, found.store, cluster("local"), lambda _: None)
    done.outcome.executed.append(node)
    live.Watch(found, COMMAND, out)(done)
    assert isinstance(out.file, io.StringIO)
    said = out.file.getvalue().splitlines()
    assert said[0].startswith("done grpo/A+RL ") and said[1].startswith("note: grpo/A+RL: RL learned nothing: ")
