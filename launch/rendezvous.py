"""Where the processes of a DISTRIBUTED stage meet: rank 0 listens at a free port and writes it down for the others.

The socket stays open, and is handed to torch: between finding a port and using it, nobody else can take it.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from stages.contract import Lost

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
        name: of the meeting; each start of a job has another one.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    name: str
    servers: int = 0

    def __call__(self, folder: Path) -> int | None:
        """Meet for the node of `folder`: the descriptor at which rank 0 listens (-1 for the others).

        None if there is nothing to meet for: rank 0 found the node published.

        Raises:
            Lost: rank 0 did not come.
        """
        place = folder / f"rendezvous-{self.name}"
        listener = -1
        if self.rank == 0:
            alone = self.world == self.local_world and not self.servers
            # Whoever reaches the port can speak torch's protocol, which asks for no key.
            listening = socket.create_server(("127.0.0.1" if alone else "", 0), backlog=max(128, self.world))
            draft = place.with_name(place.name + ".draft")
            host = "127.0.0.1" if alone else socket.gethostname()
            draft.write_text(json.dumps({"host": host, "port": listening.getsockname()[1]}))
            os.replace(draft, place)
            listener = listening.detach()
        given = _read(place)
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
        return listener


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
    )


def of_ranks() -> Meeting:
    """The meeting of the workers that `launch.ranks` has started, or of one that it did not start."""
    rank, world, name = os.environ.get(RANK, f"0 1 {os.getpid()}").split()
    return Meeting(rank=int(rank), world=int(world), local_rank=int(rank), local_world=int(world), name=name)


def _read(place: Path) -> dict[str, str] | None:
    deadline, told = time.monotonic() + PATIENCE, time.monotonic() + SOON
    while not place.exists():
        if not place.parent.is_dir():
            return None
        if time.monotonic() > deadline:
            raise Lost(f"rank 0 did not come to {place} within {PATIENCE} s")
        if time.monotonic() > told:
            told = float("inf")
            print(f"{place.parent}: waiting for rank 0, which waits for the node or prepares it", flush=True)
        time.sleep(0.1)
    found: dict[str, str] = json.loads(place.read_text())
    return found
