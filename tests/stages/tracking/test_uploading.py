"""What a server would be sent: two attempts are one run there, online and by `wandb sync`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.store import Store
from stages.tracking import names
from tests import wandb_server
from tests.conftest import carry_out, study
from tests.stages.tracking.recorded import OFFLINE
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
    wandb = str(Path(sys.executable).parent / "wandb")
    command = [wandb, "sync", "-n", "1", *logs]
    subprocess.run(command, cwd=store.root, check=True, capture_output=True, timeout=300)  # it writes logs to ./wandb
    assert uploaded(server, id) == CURVE
    assert server.ended[id] == [1, 0]
    assert not names.unsynced(store.root, id)
