"""Retrying: what failed or was lost and what depends on it, nothing that was never tried."""

import shutil
from pathlib import Path

import pytest

from orchestrator import plan, retry
from orchestrator.names import full
from tests.conftest import carry_out, study

pytestmark = pytest.mark.usefixtures("toys")

VARIANTS = {
    "Bad": [{"toy_train": {"epochs": 3, "limit": 5.0}}, {"toy_probe": {"digit": 0}}],
    "Good": [{"toy_train": {"epochs": 1}}, {"toy_probe": {"digit": 0}}],
}


def test_only_what_failed_and_what_depends_on_it(tmp_path: Path) -> None:
    _, before, store = study(tmp_path, {"Bad": VARIANTS["Bad"]})
    assert len(carry_out(before, store).failed) == 1
    _, graph, store = study(tmp_path, VARIANTS)
    entries = plan.make(graph, store)
    again = retry.lost(entries, store)
    assert [full(node) for node in again] == ["toy_train/Bad"]
    restricted, left = retry.restrict(graph, entries, again)
    assert sorted(map(full, restricted.nodes.values())) == ["toy_base/base", "toy_probe/Bad", "toy_train/Bad"]
    assert left == []


def test_an_interrupted_node_is_lost_and_a_new_one_is_not(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path, {"Good": VARIANTS["Good"]})
    carry_out(graph, store)
    _, graph, store = study(tmp_path, VARIANTS)
    bad = next(node for node in graph.nodes.values() if full(node) == "toy_train/Bad")
    folder = store.job(bad.stage, bad.fingerprint)
    assert retry.lost(plan.make(graph, store), store) == []
    folder.mkdir(parents=True)
    (folder / "attempts").write_text("1")
    store.refresh()
    assert retry.lost(plan.make(graph, store), store) == [bad]


def test_what_needs_something_that_was_never_tried_is_left_out(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path, VARIANTS)
    bad = next(node for node in graph.nodes.values() if full(node) == "toy_train/Bad")
    restricted, left = retry.restrict(graph, plan.make(graph, store), [bad])
    assert [full(node) for node in left] == ["toy_train/Bad", "toy_probe/Bad"]
    assert not restricted.nodes


def test_what_is_done_may_need_what_is_there_no_more(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path, {"Good": VARIANTS["Good"]})
    carry_out(graph, store)
    store.refresh()
    base = next(node for node in graph.nodes.values() if full(node) == "toy_base/base")
    shutil.rmtree(store.find(base.stage, base.fingerprint) or tmp_path)
    store.refresh()
    restricted, left = retry.restrict(graph, plan.make(graph, store), [])
    assert sorted(map(full, restricted.nodes.values())) == ["toy_probe/Good", "toy_train/Good"]
    assert left == []
