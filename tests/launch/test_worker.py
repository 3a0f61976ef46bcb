"""The worker: one attempt at a node, whose failure is one message."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from launch import failure, worker
from launch.job import Allocation
from launch.node import InputSpec, NodeSpec, read
from orchestrator import plan
from orchestrator.batch import prepare
from orchestrator.graph import Graph
from stages import contract
from stages.contract import Interrupted, Lost, Resources, StageError
from stages.store import Store
from tests.conftest import carry_out, study

pytestmark = pytest.mark.usefixtures("toys")

BASE = {"Base": [{"toy_train": {"epochs": 1}}]}


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Make toy_base fail."""

    def run(config: object, context: object) -> dict[str, object]:
        raise error

    monkeypatch.setattr(contract.load("toy_base"), "run", run)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (StageError("toy_base.value: too large"), "toy_base.value: too large"),
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on the disk of"),
        (KeyError("bug"), "KeyError: 'bug'"),
    ],
)
def test_a_failure_is_one_message_and_leaves_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    _, found, store = study(tmp_path / "store", BASE)
    failing(monkeypatch, error)
    outcome = carry_out(found, store)
    ((node, (shown,), _),) = outcome.failed.values()
    assert shown.startswith(message)
    job = store.job(node.stage, node.fingerprint)
    assert not (job / "out").exists()
    assert [entry.state for entry in plan.make(found, store)] == ["failed", "run"]
    monkeypatch.undo()


def test_an_input_that_was_damaged_since_the_plan_stops_the_node(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store", BASE)
    carry_out(found, store)
    base, train = found.nodes.values()
    made = {node: store.find(node.stage, node.fingerprint) for node in (base, train)}
    record = store.record(train.stage, train.fingerprint)
    assert made[base] and made[train] and record
    shutil.rmtree(made[train])
    (made[base] / "model.txt").write_text("")
    folder = store.job(train.stage, train.fingerprint)
    NodeSpec(
        store=str(store.root),
        stage=train.stage,
        label=train.label,
        fingerprint=train.fingerprint,
        identity=train.identity,
        inputs={"checkpoint": InputSpec(fingerprint=base.fingerprint, stage="toy_base", artifact=base.fingerprint)},
        continues=[],
        resources={},
    ).write(folder)
    assert worker.run(folder, {}) == 1
    assert failure.messages(folder) == [
        f"input checkpoint: toy_base {base.fingerprint[:10]} has no valid record in {store.root}"
    ]


def test_node_json_says_all_that_a_worker_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, found, store = study(tmp_path / "store")
    failing(monkeypatch, StageError("stop here"))
    carry_out(found, store)
    base = next(iter(found.nodes.values()))
    spec = read(store.job(base.stage, base.fingerprint))
    assert (spec.fingerprint, spec.identity) == (base.fingerprint, base.identity)
    assert Resources(**spec.resources) == Resources(cpus=1, gpus=0, per_device_batch=32, graders=1)


def test_attempts_are_counted_even_if_the_counter_was_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, found, store = study(tmp_path / "store", BASE)
    base = next(iter(found.nodes.values()))
    with monkeypatch.context() as patch:
        failing(patch, StageError("first"))
        carry_out(found, store)
    job = store.job(base.stage, base.fingerprint)
    assert json.loads((job / failure.ERROR).read_text())["message"] == "first"
    (job / "attempts").write_text("")
    carry_out(found, store)
    record = store.record(base.stage, base.fingerprint)
    assert record is not None and record["attempts"] == 1


def states(graph: Graph, store: Store) -> dict[str, bool]:
    """Trainings that are published -> whether their training state is still there."""
    places = {node.label: store.find(node.stage, node.fingerprint) for node in graph.nodes.values()}
    return {label: (place / "state").is_dir() for label, place in places.items() if place and label != "base"}


def test_training_state_goes_with_the_longer_run_that_supersedes_it(tmp_path: Path) -> None:
    variants = {name: [{"toy_train": {"epochs": epochs}}] for name, epochs in (("A", 1), ("B", 2), ("C", 4))}
    _, graph, store = study(tmp_path / "store", variants)
    carry_out(graph, store)
    store.refresh()
    assert states(graph, store) == {"A": False, "B": False, "C": True}


def test_training_state_stays_that_another_node_may_go_on_from(tmp_path: Path) -> None:
    variants = {name: [{"toy_train": {"epochs": epochs}}] for name, epochs in (("A", 1), ("C", 4))}
    _, graph, store = study(tmp_path / "store", variants)
    _, more, _ = study(tmp_path / "store", {"B": [{"toy_train": {"epochs": 2}}]})
    waiting = next(node for node in more.nodes.values() if node.stage == "toy_train")
    prepare(waiting, more, store, Allocation())
    carry_out(graph, store)
    store.refresh()
    assert states(graph, store) == {"A": True, "C": True}


@pytest.mark.parametrize("losses", [1, 2, 3])
def test_a_node_that_was_lost_is_tried_again_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, losses: int
) -> None:
    _, graph, store = study(tmp_path / "store", BASE)
    left = iter([Lost("the engine is gone")] * losses)
    make = contract.load("toy_base").run

    def run(config: Any, context: Any) -> Any:
        error = next(left, None)
        if error is not None:
            raise error
        return make(config, context)

    monkeypatch.setattr(contract.load("toy_base"), "run", run)
    outcome = carry_out(graph, store)
    base = next(iter(graph.nodes.values()))
    if losses <= failure.TRIES:
        record = store.record(base.stage, base.fingerprint)
        assert record is not None and record["attempts"] == losses + 1
        assert [messages for _, messages in outcome.again] == [["the engine is gone"]] * losses
    else:
        ((_, messages, _),) = outcome.failed.values()
        assert messages == ["the engine is gone (3 times without progress)"]


@pytest.mark.parametrize(
    "error", [RuntimeError("the pool is broken"), StageError("gone"), OSError(28, "full"), Lost("x")]
)
def test_what_fails_after_the_request_to_stop_counts_as_interrupted(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a stage uses is being ended around it; it goes on from what it saved."""
    _, found, store = study(tmp_path / "store", BASE)
    carry_out(found, store)
    _, longer, store = study(tmp_path / "store", {"Base": [{"toy_train": {"epochs": 3}}]})
    (train,) = (node for node in longer.nodes.values() if node.stage == "toy_train")
    folder = prepare(train, longer, store, Allocation())
    asked = [False]

    def run(config: object, context: object) -> dict[str, object]:
        asked[0] = True
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(contract.load("toy_train"), "run", run)
        with pytest.raises(Interrupted) as caught:
            worker.run(folder, {}, worker.Post(stopping=lambda: asked[0]))
    assert caught.value.__cause__ is error
    assert not (folder / failure.ERROR).exists() and not (folder / failure.SETBACKS).exists()
    (entry,) = (entry for entry in plan.make(longer, Store(store.root)) if entry.node is train)
    assert (entry.state, entry.reason) == ("run", "was interrupted; continues")
    assert not carry_out(longer, Store(store.root)).failed


def test_what_fails_before_it_or_saves_nothing_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base saves nothing, so it is not asked: near its time limit it may fail for reasons of its own."""
    _, found, store = study(tmp_path / "store", BASE)
    failing(monkeypatch, StageError("wrong"))
    base = next(iter(found.nodes.values()))
    folder = prepare(base, found, store, Allocation())
    assert worker.run(folder, {}, worker.Post(stopping=lambda: True)) == 1
    assert failure.messages(folder) == ["wrong"]
