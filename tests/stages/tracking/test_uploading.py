"""What a server would be sent: two attempts are one run there, online and by `wandb sync`."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.store import Store
from stages.tracking import names
from stages.tracking.run import remove_unbegun
from tests import wandb_server
from tests.conftest import carry_out, study
from tests.stages.tracking.recorded import OFFLINE, attempts, by_name
from tests.wandb_server import Received

pytestmark = [pytest.mark.usefixtures("toys"), pytest.mark.slow]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Received]:
    """A server, and a key that it takes."""
    with wandb_server.serving() as received:
        monkeypatch.setenv("WANDB_BASE_URL", received.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield received


def attempted(store: Path, mode: str) -> tuple[Store, str]:
    """A training that fails once, after a step that it did not save; returns the id of its run."""
    fields = {"steps": 9, "dies": 5, "how": "fails"}
    _, graph, made = study(
        store, {"Curve": [{"toy_train": {"epochs": 1}}], "Own": [{"toy_curve": {}}]}, outside={"toy_curve": fields}
    )
    tracking = {**OFFLINE, "mode": mode}
    assert carry_out(graph, made, tracking=tracking).failed
    made.refresh()
    assert not carry_out(graph, made, tracking=tracking).failed
    node = next(node for node in graph.nodes.values() if node.stage == "toy_curve")
    return made, names.of_node(made.root, node.fingerprint)


def sync(root: Path, *words: str) -> None:
    """`wandb sync`, in the store: it writes logs to ./wandb."""
    command = [str(Path(sys.executable).parent / "wandb"), "sync", *words]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=300)


def uploaded(received: Received, id: str) -> list[Any]:
    return [(row["_step"], row["toy_curve/reward"]) for row in received.history[id] if "toy_curve/reward" in row]


CURVE = [(step, step / 10) for step in range(1, 10)]


def test_online_a_second_attempt_goes_on_where_the_server_has_the_curve(tmp_path: Path, server: Received) -> None:
    _, id = attempted(tmp_path / "store", "online")
    assert uploaded(server, id) == CURVE
    assert server.ended[id] == [1, 0]
    assert (server.runs[id]["groupName"], server.runs[id]["jobType"]) == ("toy", "toy_curve")
    assert server.used  # toy_train has used the base


def test_two_offline_attempts_become_one_run_when_they_are_synced(tmp_path: Path, server: Received) -> None:
    store, id = attempted(tmp_path / "store", "offline")
    assert not server.history
    assert len(names.unsynced(store.root, id)) == 2
    logs = sorted(f"wandb/{folder.name}" for folder in (store.root / names.FOLDER).glob("offline-run-*"))
    sync(store.root, "-n", "1", *logs)
    assert uploaded(server, id) == CURVE
    assert server.ended[id] == [1, 0]
    assert not names.unsynced(store.root, id)


def test_a_server_that_hangs_from_the_middle_of_a_run_on_delays_the_node_by_a_minute_and_gets_the_rest_later(
    tmp_path: Path, server: Received, capfd: pytest.CaptureFixture[str]
) -> None:
    server.away, server.until = "hangs", lambda received: received.runs  # it has opened the run, and no more
    outside: dict[str, Any] = {"base": None, "toy_curve": {"steps": 9}}
    _, graph, store = study(tmp_path / "store", {"Curve": [{"toy_curve": {}}]}, outside=outside)
    began = time.monotonic()
    assert not carry_out(graph, store, tracking={**OFFLINE, "mode": "online"}).failed
    assert time.monotonic() - began < 100
    (run,) = attempts(store.root)
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W&B: ")]
    command = f"wandb sync --include-online {run.file.parent}"
    assert said[-1] == (
        f"W&B: toy_curve/Curve is not uploaded whole, the server does not answer any more; `{command}` uploads it later"
    )
    assert not server.history and run.summary["node/state"] == "done" and run.exit_code == 0
    server.away = None
    sync(store.root, *command.split()[2:])
    assert uploaded(server, run.id) == CURVE


def test_a_server_that_goes_before_the_inputs_are_noted_costs_the_run_nothing_else(
    tmp_path: Path, server: Received, capfd: pytest.CaptureFixture[str]
) -> None:
    server.away, server.until = "gone", lambda received: len(received.runs) == 2  # that of the base, and its reader's
    _, graph, store = study(tmp_path / "store", {"A": [{"toy_train": {"epochs": 1}}]})
    assert not carry_out(graph, store, tracking={**OFFLINE, "mode": "online"}).failed
    run = by_name(store.root)["toy_train/A"]
    assert run.summary["node/state"] == "done" and run.exit_code == 0
    assert "W&B: what toy_train/A reads is not recorded: " in capfd.readouterr().err


def test_a_log_without_a_beginning_is_removed_since_wandb_sync_would_upload_none_of_the_others(
    tmp_path: Path, server: Received
) -> None:
    store, id = attempted(tmp_path / "store", "offline")
    logs = store.root / names.FOLDER
    before, now = logs / "offline-run-20200101_000000-dead", logs / "offline-run-20200101_000000-busy"
    for folder in (before, now):  # one was killed with all of its job, the other has just been opened
        folder.mkdir()
        (folder / f"run-{folder.name.rpartition('-')[2]}.wandb").write_bytes(b":W&B\xd0\x03\x00")
    os.utime(before / "run-dead.wandb", (0, 0))
    remove_unbegun(store.root)
    assert not before.exists() and now.exists()
    remove_unbegun(store.root, "busy", idle=0.0)  # it is opened again, by the next attempt
    assert not now.exists()
    sync(store.root, "-n", "1", *sorted(f"wandb/{each.name}" for each in logs.glob("offline-*")))
    assert uploaded(server, id) == CURVE
