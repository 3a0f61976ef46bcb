"""Where the processes of a DISTRIBUTED stage meet: rank 0 finds a free port and writes it down, the others read it."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

#: Seconds that the other ranks wait for rank 0, which may have to wait for the node's lock.
PATIENCE = 600


class Meeting:
    """Sets what torch.distributed reads from the environment. Each start of a job has a meeting place of its own."""

    def __init__(self, rank: int, world: int) -> None:
        self._rank, self._world = rank, world

    def __call__(self, folder: Path) -> bool:
        """Meet for the node of `folder`. False if there is nothing to meet for: rank 0 found it published.

        Raises:
            TimeoutError: rank 0 did not come.
        """
        place = (
            folder / f"rendezvous-{os.environ.get('SLURM_JOB_ID', '0')}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
        )
        if self._rank == 0:
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
            "RANK": str(self._rank),
            "WORLD_SIZE": str(self._world),
            "LOCAL_RANK": os.environ.get("SLURM_LOCALID", "0"),
            "LOCAL_WORLD_SIZE": str(self._world // int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))),
            "MASTER_ADDR": given["host"],
            "MASTER_PORT": str(given["port"]),
        }
        return True


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
