"""Where the processes of a DISTRIBUTED stage meet: rank 0 listens at a free port and writes it down for the others.

The socket stays open, and is handed to torch: between finding a port and using it, nobody else can take it. Whoever
reaches it can speak torch's protocol, which asks for no key: it is bound to loopback, or to the interface that leads
to the other machines of the job. It is written down where this user alone can write, since ranks do what those tell
them that they meet.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from launch import queue
from launch.queue import Unanswered
from stages import meeting_place, part, route
from stages.contract import Lost
from stages.route import LOOPBACK

#: Seconds that the other ranks wait for rank 0, which may have to wait for the node.
PATIENCE = 600
#: Seconds after which they say so.
SOON = 5

#: What `launch.ranks` tells a worker: its rank, how many there are, and the name of their meeting.
RANK = "LAUNCH_RANK"


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Sets what torch.distributed reads from the environment.

    Attributes:
        rank, world: of this process among all that train. The processes of machines that serve have higher ranks.
        local_rank, local_world: of this process among those of its machine.
        servers: machines that serve and do not train: the last ones.
        nodes: the machines of the job, as Slurm lists them; empty where there is but one.
        name: of the meeting; each start of a job has another one.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    name: str
    servers: int = 0
    nodes: str = ""

    @property
    def alone(self) -> bool:
        """Whether all of them are on this machine."""
        return self.world == self.local_world and not self.servers

    def __call__(self, folder: Path) -> int | None:
        """Meet for the node of `folder`: the descriptor at which rank 0 listens (-1 for the others).

        None if there is nothing to meet for: rank 0 found the node published.

        Raises:
            Lost: rank 0 did not come.
            StageError, OSError: others can write where they meet.
        """
        if not folder.is_dir():
            return None
        place = meeting_place.of(folder) / f"ranks-{self.name}.json"
        listener = -1
        if self.rank == 0:
            ip = LOOPBACK if self.alone else _towards_others(self.nodes)
            family = socket.AF_INET6 if ":" in ip else socket.AF_INET
            listening = socket.create_server((ip, 0), family=family, backlog=max(128, self.world))
            where = {"host": ip or socket.gethostname(), "port": listening.getsockname()[1]}
            meeting_place.leave(place, json.dumps(where).encode())
            listener = listening.detach()
        given = _read(place, folder)
        if given is None:
            return None
        os.environ |= {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "MASTER_ADDR": given["host"],
            "MASTER_PORT": str(given["port"]),
        }
        self._stay_on(given["host"])
        return listener

    def _stay_on(self, host: str) -> None:
        """Have Gloo, and NCCL where it needs no other machine, listen on the way to `host` alone.

        By themselves they take the interfaces that the machine's name leads to, or all. A user's own choice counts.
        """
        with contextlib.suppress(OSError):
            name = route.interface(route.towards(host))
            if name is not None:
                os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
                if self.alone:
                    os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={name}")


#: The meeting of one process.
ALONE = Meeting(rank=0, world=1, local_rank=0, local_world=1, name="alone")


def of_slurm(servers: int = 0) -> Meeting:
    """The meeting of the processes of this Slurm step, or of a job that has no step; its last machines may serve."""
    given = os.environ
    tasks, machines = int(given.get("SLURM_NTASKS", "1")), int(given.get("SLURM_JOB_NUM_NODES", "1"))
    each = tasks // machines
    return Meeting(
        rank=int(given.get("SLURM_PROCID", "0")),
        world=tasks - servers * each,
        local_rank=int(given.get("SLURM_LOCALID", "0")),
        local_world=each,
        name=f"{given.get('SLURM_JOB_ID', '0')}-{given.get('SLURM_RESTART_COUNT', '0')}",
        servers=servers,
        nodes=given.get("SLURM_JOB_NODELIST", "") if machines > 1 else "",
    )


def of_ranks() -> Meeting:
    """The meeting of the workers that `launch.ranks` has started, or of one that it did not start."""
    rank, world, name = os.environ.get(RANK, f"0 1 {os.getpid()}").split()
    return Meeting(rank=int(rank), world=int(world), local_rank=int(rank), local_world=int(world), name=name)


def _towards_others(nodes: str) -> str:
    """The IP of the interface that leads to the other machines of a job; empty, for all interfaces, if none is known.

    `nodes` are its machines, as Slurm lists them (`n[1-3]`).
    """
    try:
        every = [dict(word.partition("=")[::2] for word in line.split()) for line in _described(nodes)]
        others = [node["NodeAddr"] for node in every if node["NodeName"] != os.environ.get("SLURMD_NODENAME")]
        return route.towards(others[0])
    except (Unanswered, OSError, LookupError) as error:
        print(f"the port where the ranks meet is open on all interfaces: no way to the others is known ({error})")
        return ""


def _described(nodes: str) -> list[str]:
    return queue.ask("scontrol", "show", "--oneliner", "node", nodes).splitlines()


def _read(place: Path, folder: Path) -> dict[str, str] | None:
    deadline, told = time.monotonic() + PATIENCE, time.monotonic() + SOON
    while not place.exists():
        if not part.mine(folder).is_dir():
            return None
        if time.monotonic() > deadline:
            raise Lost(f"rank 0 did not come to {place} within {PATIENCE} s")
        if time.monotonic() > told:
            told = float("inf")
            print(f"{folder}: waiting for rank 0, which waits for the node or prepares it", flush=True)
        time.sleep(0.1)
    found: dict[str, str] = json.loads(meeting_place.read(place))
    return found
