"""Watching: every change of state is told once, and it ends when nothing is in flight."""

import os
import re
from pathlib import Path

import pytest

from launch import claim as claims
from launch.claim import Claim
from orchestrator import plan, view, watch
from orchestrator.__main__ import VERBS
from orchestrator.command import Command, Study
from orchestrator.graph import Node
from orchestrator.plan import Entry
from stages.store import Store
from tests.conftest import carry_out, study

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL", 0.01)


def claimed(node: Node, store: Store) -> Path:
    """A node that a worker of another machine has started."""
    folder = store.job(node.stage, node.fingerprint)
    folder.mkdir(parents=True)
    (folder / "attempts").write_text("1")
    claims.take(folder, Claim(token="0" * 12, launcher="local", host="elsewhere", pid=1), None)
    return folder


def test_a_worker_that_is_heard_of_no_more(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path)
    folder = claimed(next(iter(graph.nodes.values())), store)
    told: list[str] = []
    tell = watch.Changes(told.append)

    def draw(entries: list[Entry]) -> None:
        tell(entries)
        if not told:
            os.utime(folder / "claim-1.json", (0, 0))

    entries = watch.watch(graph, store, draw)
    assert not any(entry.in_flight for entry in entries)
    (line,) = told
    assert re.fullmatch(r"\d\d:\d\d:\d\d toy_base/base running -> run: was interrupted; continues", line)


@pytest.mark.parametrize(("limit", "code"), [(1e9, 0), (1.0, 1)])
def test_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], limit: float, code: int
) -> None:
    read, graph, store = study(tmp_path, limit=limit)
    carry_out(graph, store)
    assert VERBS["status"].act(Study(read, graph, store), Command("status", None, frozenset({"--watch"}), [])) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{graph.references} node references, 5 distinct: ")


def test_the_sum_of_a_plan(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path)
    claimed(next(iter(graph.nodes.values())), store)
    assert view.sum_up(plan.make(graph, store), graph) == (
        f"{graph.references} node references, 5 distinct: 1 in flight (1 running, 0 queued), 4 to run"
    )
