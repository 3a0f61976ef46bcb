"""Where the processes of a stage meet: at a port that only those can reach who have to."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from launch.rendezvous import Meeting


@pytest.mark.parametrize(
    ("local_world", "servers", "ip"),
    [(2, 0, "127.0.0.1"), (1, 0, "0.0.0.0"), (2, 1, "0.0.0.0")],
)
def test_processes_of_one_machine_meet_where_no_other_machine_can_reach_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_world: int, servers: int, ip: str
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
    first = Meeting(rank=0, world=2, local_rank=0, local_world=local_world, name="one", servers=servers)
    listener = first(tmp_path)
    assert listener is not None
    with socket.socket(fileno=listener) as listening:
        assert listening.getsockname()[0] == ip
        place = json.loads((tmp_path / "rendezvous-one").read_text())
        assert place["port"] == listening.getsockname()[1]
        assert (place["host"] == "127.0.0.1") is (ip == "127.0.0.1")
        other = Meeting(rank=1, world=2, local_rank=1, local_world=local_world, name="one", servers=servers)
        assert other(tmp_path) == -1
        assert (os.environ["MASTER_ADDR"], os.environ["RANK"]) == (place["host"], "1")
