"""Cancelling: one's own, for all nodes of a job and all that depend on them; what is not is named and left."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from launch import claim as claims
from launch.claim import Claim
from orchestrator import cancel
from orchestrator.__main__ import main
from orchestrator.command import Command, Study
from orchestrator.graph import Graph, Node
from orchestrator.names import full
from orchestrator.run import Run
from stages.store import Store
from tests.conftest import carry_out, study

pytestmark = pytest.mark.usefixtures("toys")


def find(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes.values() if full(node) == name)


def told(capsys: pytest.CaptureFixture[str], made: Study, node: str | None, *flags: str) -> dict[str, object]:
    code = cancel.verb(made, Command("cancel", node, frozenset({"--json", *flags}), []))
    return {"code": code, **json.loads(capsys.readouterr().out)}


def test_a_worker_of_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read, graph, store = study(tmp_path, seconds=30.0)
    answers: list[dict[str, object]] = []

    def watch(run: Run) -> None:
        node = find(graph, "toy_train/Short")
        if not answers and Store(tmp_path).running(node.stage, node.fingerprint):
            answers.append(told(capsys, Study(read, graph, Store(tmp_path)), None, "--all"))

    outcome = carry_out(graph, store, "local", watch)
    (answer,) = answers
    assert answer["code"] == 0 and answer["over"]
    assert answer["workers"] == {next(iter(answer["workers"])): ["toy_train/Short"]}  # type: ignore[call-overload]
    ((node, messages, _),) = outcome.failed.values()
    assert full(node) == "toy_train/Short" and "killed by signal 15" in messages[0]


def test_what_is_not_ours_is_named_and_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read, graph, store = study(tmp_path)
    carry_out(graph, store)
    probe = find(graph, "toy_probe/Long")
    train = find(graph, "toy_train/Short")
    for node, mine in ((probe, {"user": "somebody"}), (train, {"host": "elsewhere"})):
        place = store.find(node.stage, node.fingerprint)
        assert place is not None
        (place / "record.json").unlink()
        folder = store.job(node.stage, node.fingerprint)
        folder.mkdir()
        claims.take(folder, Claim(**{"token": "a" * 12, "launcher": "local", "host": "there", "pid": 1, **mine}), None)
    store.refresh()
    answer = told(capsys, Study(read, graph, store), None, "--all")
    assert answer["left"] == {
        "toy_probe/Long": "it is somebody's: a worker of somebody on there has it",
        "toy_train/Short": "its worker is on elsewhere; cancel it there",
    }
    assert answer["code"] == 1


def test_a_process_that_is_no_worker_is_not_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read, graph, store = study(tmp_path)
    node = find(graph, "toy_base/base")
    folder = store.job(node.stage, node.fingerprint)
    folder.mkdir(parents=True)
    claims.take(folder, Claim(token="a" * 12, launcher="local", pid=os.getpid()), None)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        answer = told(capsys, Study(read, graph, store), "toy_base")
    reason = f"it runs in another process, {os.getpid()}, which is no worker; end that one"
    assert (answer["left"], answer["workers"]) == ({"toy_base/base": reason}, {})


def test_a_command_that_names_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cancel", "+experiment=smoke", f"store={tmp_path}"]) == 2
    assert "name a node" in capsys.readouterr().err
    assert main(["cancel", "--all", "+experiment=smoke", f"store={tmp_path}"]) == 0
    assert capsys.readouterr().out == "nothing of it is in flight\n"
