"""The worker: one attempt at a node, whose failure is one message."""

import errno
import json
import shutil
from pathlib import Path

import pytest

from launch import failure, worker
from launch.node import InputSpec, NodeSpec, read
from orchestrator import plan
from stages import contract
from stages.contract import Resources, StageError
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
