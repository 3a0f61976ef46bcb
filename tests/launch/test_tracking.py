"""Each node as a run of W&B: the real client, offline, and what it wrote, read back."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from launch import tracking
from launch.job import Allocation, Cluster
from launch.tracking import Recorder, Tracking
from orchestrator.graph import Graph, Node
from orchestrator.run import Run
from stages.contract import Interrupted
from stages.store import Store
from stages.tracking import names
from tests.conftest import carry_out, study
from tests.stages.tracking.recorded import OFFLINE, attempts, by_name, curve

pytestmark = pytest.mark.usefixtures("toys")

CURVE = {"Curve": [{"toy_curve": {}}]}


def trained(store: Path, **fields: Any) -> tuple[Graph, Store, Node]:
    """A study of one training that logs a curve."""
    _, graph, made = study(store, CURVE, outside={"base": None, "toy_curve": fields})
    return graph, made, next(node for node in graph.nodes.values() if node.stage == "toy_curve")


@pytest.mark.slow
def test_every_node_is_a_run_with_its_config_its_numbers_and_its_lineage(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path / "store", {"Long": [{"toy_train": {"epochs": 4}}, {"toy_probe": {"digit": 0}}]})
    outcome = carry_out(graph, store, tracking=OFFLINE)
    assert not outcome.failed
    runs = by_name(store.root)
    assert list(runs) == ["toy_base/base", "toy_train/Long", "toy_probe/Long"]
    nodes = {f"{node.stage}/{node.label}": node for node in graph.nodes.values()}
    for name, run in runs.items():
        node = nodes[name]
        assert (run.group, run.job_type, run.exit_code) == ("toy", node.stage, 0)
        assert run.id == names.of_node(store.root, node.fingerprint)
        assert run.config["fingerprint"] == node.fingerprint
        assert run.config[node.stage] == node.config
        record = store.record(node.stage, node.fingerprint)
        assert record is not None
        assert {key: run.summary[key] for key in record["summary"]} == record["summary"]
        assert run.summary["node/state"] == "done"
        assert run.config["host"] == record["host"]
    train, probe = runs["toy_train/Long"], runs["toy_probe/Long"]
    # Whoever reads an artifact means the version that its maker has logged.
    assert probe.used.keys() == train.made.keys()
    (name,) = train.made
    assert probe.used[name].digest == train.made[name].digest
    assert probe.used[name].type == train.made[name].type == "checkpoint"
    (entry,) = train.made[name].manifest.contents
    folder = store.find("toy_train", nodes["toy_train/Long"].fingerprint)
    assert folder is not None and entry.ref == (folder / "model.txt").as_uri()
    assert probe.config["toy_train"]["epochs"] == 4  # so that it can be found by what it was made from


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "stopped", "fails"])
def test_a_second_attempt_continues_the_run_and_its_curve(tmp_path: Path, how: str) -> None:
    graph, store, node = trained(tmp_path / "store", steps=9, dies=5, how=how, seconds=0.0)
    with_limit = "local" if how == "killed" else "inline"
    try:
        first = carry_out(graph, store, with_limit, tracking=OFFLINE)
        assert first.failed
    except Interrupted:
        assert how == "stopped"
    store.refresh()
    second = carry_out(graph, store, with_limit, tracking=OFFLINE)
    assert not second.failed
    one, two = attempts(store.root)
    assert one.id == two.id == names.of_node(store.root, node.fingerprint)
    assert one.file != two.file
    together = curve(one, "toy_curve/reward") + curve(two, "toy_curve/reward")
    assert together == [(step, step / 10) for step in range(1, 10)]
    assert [row["rollout"] for row in one.history + two.history] == [(step + 1) // 2 for step in range(1, 10)]
    assert (one.exit_code, two.exit_code) == (1, 0)
    assert one.summary["node/state"] == {"killed": "lost", "stopped": "interrupted", "fails": "failed"}[how]
    assert two.summary["node/state"] == "done"
    if how == "fails":
        assert one.summary["node/failure"] == "it fails here"


@pytest.mark.slow
def test_a_client_that_is_ended_under_a_stage_is_started_again_to_record_the_rest(tmp_path: Path) -> None:
    graph, store, node = trained(tmp_path / "store", steps=9, dies=5, how="alone", seconds=1.0)
    assert not carry_out(graph, store, tracking=OFFLINE).failed
    (run,) = attempts(store.root)  # what it had not yet written is no log, with which `wandb sync` would upload nothing
    assert run.id == names.of_node(store.root, node.fingerprint)
    assert curve(run, "toy_curve/reward") == [(step, step / 10) for step in range(1, 10)]
    assert (run.exit_code, run.summary["node/state"]) == (0, "done") and run.made


def test_disabled_starts_no_process_and_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Tracking(mode="disabled").group("toy") is None
    started: list[object] = []
    monkeypatch.setattr(Recorder, "__init__", lambda *given: started.append(given))
    _, graph, store = study(tmp_path / "store", {"Base": [{"toy_train": {"epochs": 1}}]})
    assert not carry_out(graph, store).failed
    assert not started
    assert not (store.root / "wandb").exists()


def test_a_worker_never_loads_wandb() -> None:
    code = "import sys, launch.worker, launch.task, orchestrator.__main__; sys.exit('wandb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.slow
def test_a_server_that_is_away_neither_fails_nor_stalls_a_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    graph, store, _ = trained(tmp_path / "store", steps=3)
    assert not carry_out(graph, store, tracking={**OFFLINE, "mode": "online"}).failed
    (run,) = attempts(store.root)
    assert run.file.parent.name.startswith("offline-")
    assert [step for step, _ in curve(run, "toy_curve/reward")] == [1, 2, 3]
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W&B")]
    assert len(said) == 1 and "does not answer" in said[0] and "wandb sync" in said[0]


@pytest.mark.slow
def test_without_a_key_it_is_offline_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:  # it answers, with an error
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("WANDB_API_KEY", raising=False)
        graph, store, _ = trained(tmp_path / "store", steps=3)
        assert not carry_out(graph, store, tracking={**OFFLINE, "mode": "online"}).failed
        server.shutdown()
    (run,) = attempts(store.root)
    assert run.file.parent.name.startswith("offline-") and run.exit_code == 0
    assert "No API key configured" in capfd.readouterr().err


def test_a_process_that_hangs_is_given_up_and_the_stage_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", _program(tmp_path / "deaf", "exec sleep 600"))
    monkeypatch.setattr(tracking, "TAKEN", 0.3)
    recorder = Recorder(tmp_path)
    began = time.monotonic()
    for step in range(20000):  # more than the pipe holds
        recorder.tell(do="row", kind="train", row={"step": step, "reward": 0.5})
    assert recorder.ask(do="end", state="done") == {"error": "W&B is not there"}
    assert time.monotonic() - began < 10
    said = capfd.readouterr().err.splitlines()
    assert said == ["W&B: it takes no more messages; the study goes on without it"]


def test_an_answer_that_does_not_come_is_waited_for_as_long_as_it_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", _program(tmp_path / "mute", "exec sleep 600"))
    monkeypatch.setattr(tracking, "LOADED", 0.2)
    assert "error" in Recorder(tmp_path).ask(0.2, do="end", state="done")
    assert "no answer in 0 s" in capfd.readouterr().err


@pytest.mark.slow
def test_a_store_that_cannot_hold_w_and_b_files_costs_the_stage_nothing(tmp_path: Path) -> None:
    graph, store, node = trained(tmp_path / "store", steps=3)
    store.root.mkdir()
    (store.root / "wandb").write_text("a file is in the way, as a full disk would be")
    assert not carry_out(graph, store, tracking=OFFLINE).failed
    store.refresh()
    assert store.find(node.stage, node.fingerprint)


def test_the_folder_of_w_and_b_is_everybodys_and_no_link_of_somebody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", _program(tmp_path / "mute", "exec true"))
    for name in ("clean", "planted"):
        store = tmp_path / name
        store.mkdir()
        store.chmod(0o3775)
    Recorder(tmp_path / "clean").close()
    assert (tmp_path / "clean" / "wandb").stat().st_mode & 0o1777 == 0o1775
    (tmp_path / "planted" / "wandb").symlink_to(tmp_path / "nowhere")
    assert Recorder(tmp_path / "planted").ask(0.2, do="end") == {"error": "W&B is not there"}
    assert "wandb is no folder" in capfd.readouterr().err


@pytest.mark.slow
def test_a_lock_of_a_run_is_made_behind_no_link(tmp_path: Path) -> None:
    from stages.tracking import run  # W&B takes seconds to load

    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / ".locks").symlink_to(outside)
    with pytest.raises(OSError):
        run.opened(tmp_path, OFFLINE, id="some-run", name="run")
    assert not list(outside.iterdir())


@pytest.mark.slow
def test_a_disk_that_is_full_of_w_and_b_files_costs_the_stage_nothing_and_the_log_a_few_lines(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph, store, node = trained(tmp_path / "store", steps=300)
    disk = store.root / "wandb"
    disk.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        with pytest.raises(OSError, match="No space left"):  # W&B would fill it at its own pace, or after the stage
            (disk / "full").write_bytes(bytes(1 << 20))
        assert not carry_out(graph, store, tracking=OFFLINE).failed
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    store.refresh()
    assert store.find(node.stage, node.fingerprint)
    said = capfd.readouterr().err
    assert "No space left on device" in said and "Traceback" not in said


def test_the_users_own_run_is_not_continued(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "theirs")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    found = tracking.environment(tmp_path)
    assert "WANDB_RUN_ID" not in found
    assert found["WANDB_API_KEY"] == "secret"
    assert found["WANDB_CACHE_DIR"] == str(tmp_path / "wandb" / ".client")


@pytest.mark.slow
def test_of_several_ranks_only_the_first_records(tmp_path: Path) -> None:
    _, graph, store = study(tmp_path / "store", {"A": [{"toy_ranks": {"steps": 3}}]}, outside={"base": None})
    store.root.mkdir()
    here = Cluster(launcher="local", cpus=2, gpus=0, default=Allocation(processes=2), stages={})
    assert not Run(graph, store, here, lambda run: None, OFFLINE).carry_out().failed
    assert [run.name for run in attempts(store.root)] == ["toy_ranks/A"]


def _program(file: Path, line: str) -> str:
    """A program that runs a line of shell, whatever it is given."""
    file.write_text(f"#!/bin/sh\n{line}\n")
    file.chmod(0o755)
    return str(file)
