"""Where the processes of a DISTRIBUTED stage meet: rank 0 finds a free port and writes it down, the others read it."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

#: Seconds that the other ranks wait for rank 0, which may have to wait for the node's lock.
PATIENCE = 600

#: What `launch.ranks` tells a worker: its rank, how many there are, and the name of their meeting.
RANK = "LAUNCH_RANK"


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Sets what torch.distributed reads from the environment.

    Attributes:
        rank, world: of this process among all.
        local_rank, local_world: of this process among those of its machine.
        name: of the meeting; each start of a job has another one.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int
    name: str

    def __call__(self, folder: Path) -> bool:
        """Meet for the node of `folder`. False if there is nothing to meet for: rank 0 found it published.

        Raises:
            TimeoutError: rank 0 did not come.
        """
        place = folder / f"rendezvous-{self.name}"
        if self.rank == 0:
            with socket.socket() as probe:
                probe.bind(("", 0))
                port = probe.getsockname()[1]
            draft = place.with_name(place.name + ".draft")
            draft.write_text(json.dumps({"host": socket.gethostname(), "port": port}))
            os.replace(draft, place)
        given = _read(place)
        if given is None:
            return False
        os.environ |= {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "MASTER_ADDR": given["host"],
            "MASTER_PORT": str(given["port"]),
        }
        return True


def of_slurm() -> Meeting:
    """The meeting of the processes of this Slurm step, or of a job that has no step."""
    given = os.environ
    world = int(given.get("SLURM_NTASKS", "1"))
    return Meeting(
        rank=int(given.get("SLURM_PROCID", "0")),
        world=world,
        local_rank=int(given.get("SLURM_LOCALID", "0")),
        local_world=world // int(given.get("SLURM_JOB_NUM_NODES", "1")),
        name=f"{given.get('SLURM_JOB_ID', '0')}-{given.get('SLURM_RESTART_COUNT', '0')}",
    )


def of_ranks() -> Meeting:
    """The meeting of the workers that `launch.ranks` has started, or of one that it did not start."""
    rank, world, name = os.environ.get(RANK, "0 1 alone").split()
    return Meeting(rank=int(rank), world=int(world), local_rank=int(rank), local_world=int(world), name=name)


def _read(place: Path) -> dict[str, str] | None:
    deadline = time.monotonic() + PATIENCE
    while not place.exists():
        if not place.parent.is_dir():
            return None
        if time.monotonic() > deadline:
            raise TimeoutError(f"rank 0 did not come to {place} within {PATIENCE} s")
        time.sleep(0.1)
    found: dict[str, str] = json.loads(place.read_text())
    return found
