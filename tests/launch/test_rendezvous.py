"""Where the processes of a stage meet: at a port that only those can reach who have to."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch import queue, rendezvous
from launch.queue import Unanswered
from launch.rendezvous import Meeting
from stages import meeting_place, route

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in (*NAMES, *INTERFACES):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
    for name in INTERFACES:
        monkeypatch.delenv(name)
    folder = tmp_path / "store" / "sft" / ".0123456789abcdef"
    folder.mkdir(parents=True)
    return folder


def meeting(rank: int, *, local: int = 2, servers: int = 0, nodes: str = "") -> Meeting:
    return Meeting(rank=rank, world=2, local_rank=rank, local_world=local, name="one", servers=servers, nodes=nodes)


def bound(listener: int | None) -> str:
    assert listener is not None
    with socket.socket(fileno=listener) as listening:
        assert os.environ["MASTER_PORT"] == str(listening.getsockname()[1])
        ip: str = listening.getsockname()[0]
    return ip


def test_processes_of_one_machine_meet_where_no_other_machine_can_reach_them(node: Path) -> None:
    assert bound(meeting(0)(node)) == "127.0.0.1"
    assert meeting(1)(node) == -1
    assert (os.environ["MASTER_ADDR"], os.environ["RANK"]) == ("127.0.0.1", "1")
    assert [os.environ[name] for name in INTERFACES] == ["lo", "=lo"]


def test_processes_of_several_machines_meet_at_the_interface_between_them(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(*command: str) -> str:
        asked.append(command)
        return "NodeName=n1 Arch=x86 NodeAddr=192.0.2.1 State=UP\nNodeName=n2 Arch=x86 NodeAddr=127.0.0.7 State=UP\n"

    monkeypatch.setattr(queue, "ask", ask)
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "chosen")
    assert bound(meeting(0, local=1, nodes="n[1-2]")(node)) == route.towards("127.0.0.7")
    assert asked == [("scontrol", "show", "--oneliner", "node", "n[1-2]")]
    assert os.environ["MASTER_ADDR"] == route.towards("127.0.0.7")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "chosen"
    assert "NCCL_SOCKET_IFNAME" not in os.environ  # which may have faster ways between machines


def test_where_the_way_to_the_others_is_not_known_that_is_said(
    node: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(*command: str) -> str:
        raise Unanswered("no controller")

    monkeypatch.setattr(queue, "ask", ask)
    assert bound(meeting(0, servers=1, nodes="n[1-2]")(node)) == "0.0.0.0"
    assert os.environ["MASTER_ADDR"] == socket.gethostname()
    assert "open on all interfaces: no way to the others is known (no controller)" in capsys.readouterr().out


def test_ranks_do_not_go_where_somebody_else_sends_them(node: Path) -> None:
    (node / "rendezvous-one").write_text('{"host": "evil", "port": 1}')  # where a member of the group can write
    place = meeting_place.of(node) / "ranks-one.json"
    meeting_place.leave(place, b'{"host": "evil", "port": 1}')
    place.chmod(0o660)
    with pytest.raises(OSError, match="what it says is not believed"):
        meeting(1)(node)
    assert os.environ["MASTER_ADDR"] == ""


def test_there_is_nothing_to_meet_for_when_the_node_is_published(node: Path) -> None:
    node.rmdir()
    assert meeting(1)(node) is None


def test_what_other_users_left_of_a_published_node_is_not_waited_for(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.chmod(0o3770)  # as in a store that a group shares, where each user has a part of it
    monkeypatch.setattr(rendezvous, "PATIENCE", 0)
    (node / "user-12345").mkdir()
    assert meeting(1)(node) is None
