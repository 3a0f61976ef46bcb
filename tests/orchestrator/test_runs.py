"""Runs: what was asked for is on record; the same command replaces its own record."""

import getpass
import os
from pathlib import Path

import pytest

from orchestrator import runs
from stages.store import Store
from tests.conftest import study

pytestmark = pytest.mark.usefixtures("toys")


def test_a_run_names_all_nodes_of_its_graph(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path)
    file = runs.record("toy", ["+experiment=toy"], graph, store)
    assert file.parent == tmp_path / "runs" / getpass.getuser()
    (run,) = runs.read(store, [])
    assert {wanted.fingerprint for wanted in run.nodes} == set(graph.nodes)
    trained = [wanted for wanted in run.nodes if wanted.stage == "toy_train"]
    assert sorted(wanted.value or 0 for wanted in trained) == [2, 4]
    assert len({wanted.recipe for wanted in trained}) == 1


def test_the_same_command_replaces_its_record_wherever_it_runs(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path)
    first = runs.record("toy", ["+experiment=toy", "seed=1"], graph, store)
    second = runs.record("toy", ["seed=1", "cluster=slurm", "+experiment=toy", f"store={tmp_path}"], graph, store)
    other = runs.record("toy", ["+experiment=toy", "seed=2"], graph, store)
    assert first == second != other
    assert runs.files(store) == sorted([first, other])


def test_the_runs_of_a_folder_that_may_not_be_listed_are_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / runs.RUNS / "alice").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as it is for anybody but root
    lost: list[Path] = []
    assert list(runs.read(Store(tmp_path), lost)) == []
    assert lost == [tmp_path / runs.RUNS / "alice"]
