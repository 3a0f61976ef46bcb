"""What somebody plants in a shared store costs its own node, and nobody else's plan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import plan, runs
from orchestrator.graph import Graph
from stages import artifact
from stages.store import RECORDS, Store
from tests.conftest import carry_out, study
from tests.stages.test_jsonfile import PLANTED

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where a carried out study is copied from; it is made by the first test."""
    return {"store": tmp_path_factory.mktemp("made") / "store"}


@pytest.fixture
def published(tmp_path: Path, made: dict[str, Path]) -> tuple[Graph, Store]:
    if not made["store"].is_dir():
        _, graph, store = study(made["store"])
        carry_out(graph, store)
    shutil.copytree(made["store"], tmp_path / "store")
    _, graph, store = study(tmp_path / "store")
    return graph, store


SPOILT = [
    ("outputs", None),
    ("outputs", [1]),
    ("outputs", {"path": "x"}),
    ("summary", 3),
    ("identity", "text"),
    ("identity", {"config": 2**70}),
    ("inputs", []),
    ("config", None),
    ("fingerprint", ["a"]),
]


def _one_is_damaged(graph: Graph, store: Store) -> None:
    """The node whose record was spoilt runs again; the others are done."""
    entries = plan.make(graph, store)
    assert sorted(entry.state for entry in entries) == ["done"] * 4 + ["run"]
    assert [entry.reason for entry in entries if entry.state == "run"] == ["its record is missing or damaged"]


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_a_planted_record_is_no_record(published: tuple[Graph, Store], plant: Callable[[Path], object]) -> None:
    graph, store = published
    file = plan.make(graph, store)[0].path / artifact.RECORD
    file.unlink()
    plant(file)
    store.refresh()
    _one_is_damaged(graph, store)


@pytest.mark.parametrize(("key", "value"), SPOILT)
def test_a_record_with_parts_of_another_kind_is_no_record(
    published: tuple[Graph, Store], key: str, value: object
) -> None:
    graph, store = published
    file = plan.make(graph, store)[0].path / artifact.RECORD
    file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))
    store.refresh()
    _one_is_damaged(graph, store)


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("name", [RECORDS, ".sources.json"])
def test_a_planted_memory_is_forgotten(
    published: tuple[Graph, Store], name: str, plant: Callable[[Path], object]
) -> None:
    graph, store = published
    (store.root / name).unlink(missing_ok=True)
    plant(store.root / name)
    assert {entry.state for entry in plan.make(graph, Store(store.root))} == {"done"}


@pytest.mark.parametrize("known", [[], {"fingerprint": 1}, {"fingerprint": "x", "sizes": [], "code": None}, "text"])
def test_a_memory_that_says_something_else_is_not_believed(published: tuple[Graph, Store], known: object) -> None:
    graph, store = published
    plan.make(graph, store)
    file = store.root / RECORDS
    file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), known)))
    assert {entry.state for entry in plan.make(graph, Store(store.root))} == {"done"}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_a_planted_run_is_a_run_that_cannot_be_read(
    published: tuple[Graph, Store], plant: Callable[[Path], object]
) -> None:
    _, store = published
    (store.root / runs.RUNS / "somebody").mkdir(parents=True)
    plant(store.root / runs.RUNS / "somebody" / "toy-00000000.json")
    lost: list[Path] = []
    assert list(runs.read(store, lost)) == []
    assert lost == [store.root / runs.RUNS / "somebody" / "toy-00000000.json"]
