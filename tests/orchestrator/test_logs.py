"""Logs: the newest of a node, under whichever name it lies."""

import io
import threading
import time
from pathlib import Path

import pytest

from launch import claim as claims
from launch import order
from launch.claim import Claim
from launch.order import Order, Task
from orchestrator import logs
from orchestrator.__main__ import main
from orchestrator.command import Command, Study
from orchestrator.graph import Graph, Node
from orchestrator.names import full
from orchestrator.refusal import ConfigError
from stages.store import Store
from tests.conftest import carry_out, study

pytestmark = pytest.mark.usefixtures("toys")

TOKEN = "0123456789ab"


def find(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes.values() if full(node) == name)


def submitted(node: Node, store: Store, log: str) -> Path:
    """A node that a job of Slurm has; returns the folder of the job."""
    folder = store.job(node.stage, node.fingerprint)
    folder.mkdir(parents=True)
    claims.take(folder, Claim(token=TOKEN, launcher="slurm", job="12"), None)
    job = order.make(store.root, TOKEN)
    Order(token=TOKEN, tasks=[Task(folders=[str(folder)], log=log)], root="/", packages={}, time=1).write(job)
    return job


def test_the_log_of_the_last_attempt_and_of_a_job_with_several_nodes(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path)
    carry_out(graph, store, "local")
    first, second = (find(graph, f"toy_probe/{name}") for name in ("Long", "LongAgain"))
    written = logs.newest(first, graph, store)
    assert written is not None and written.parent == tmp_path / "logs" / "toy_probe"
    assert logs.newest(second, graph, store) == written
    again = written.with_name(written.name.replace("-1.txt", "-2.txt"))
    again.write_text("again")
    assert logs.newest(first, graph, store) == again


def test_what_slurm_wrote_for_a_job_that_did_not_come_so_far(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path)
    node = find(graph, "toy_base/base")
    log = store.logs("toy_base") / f"base-{node.fingerprint[:10]}-1.txt"
    job = submitted(node, store, str(log))
    assert logs.newest(node, graph, store) is None
    (job / "12_0_log.out").write_text("slurmstepd: no such file")
    assert logs.newest(node, graph, store) == job / "12_0_log.out"
    log.parent.mkdir(parents=True)
    log.write_text("started")
    assert logs.newest(node, graph, store) == log


def test_following_ends_when_the_node_is_no_longer_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "READ", 0.02)
    monkeypatch.setattr(logs, "LOOK", 0.05)
    _, graph, store = study(tmp_path, {"Long": [{"toy_train": {"epochs": 4}}]}, seconds=0.2)
    node = find(graph, "toy_train/Long")
    runner = threading.Thread(target=carry_out, args=(graph, Store(tmp_path), "local"))
    runner.start()
    while not store.running(node.stage, node.fingerprint):
        time.sleep(0.02)
    log = next(store.logs("toy_train").glob("*.txt"))
    writer = threading.Timer(0.2, lambda: log.write_text("words\n"))
    writer.start()
    out = io.BytesIO()
    assert logs.follow(node, graph, store, out) == log
    runner.join()
    assert out.getvalue() == b"words\n"
    assert store.find(node.stage, node.fingerprint)


def test_a_name_that_several_nodes_have(tmp_path: Path) -> None:
    read, graph, store = study(tmp_path)
    with pytest.raises(ConfigError, match=r"several nodes have this name.*toy_train/Long \(.*toy_probe/Long \("):
        logs.verb(Study(read, graph, store), Command("logs", "Long", frozenset(), []))


def test_a_node_that_was_never_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read, graph, store = study(tmp_path)
    fingerprint = find(graph, "toy_train/Short").fingerprint
    assert logs.verb(Study(read, graph, store), Command("logs", fingerprint[:8], frozenset(), [])) == 1
    assert capsys.readouterr().err == "toy_train/Short has no log: run, new; after toy_base/base\n"


def test_a_name_that_no_node_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["logs", "sft/ModSFTT", "+experiment=smoke", f"store={tmp_path}"]) == 2
    error = "error: logs sft/ModSFTT: no such node; did you mean 'sft/ModSFT'?; plan lists them\n"
    assert capsys.readouterr().err == error
