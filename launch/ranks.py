"""The processes of a DISTRIBUTED stage on this machine: `python -m launch.ranks N FOLDER...` starts N workers.

Slurm starts them itself; the local launcher starts this. The first worker that fails ends the others. Of one that was
killed nobody else says so: the node counts as lost.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from launch import exhaustion, failure
from launch.rendezvous import RANK
from launch.worker import LIFELINE, die_with_head
from stages import part

#: Seconds between two looks at the workers.
POLL = 0.1


def main(world: int, folders: list[str]) -> int:
    """Start a worker for each rank; 0 when all of them have ended well, else the first other exit code."""
    if os.environ.get(LIFELINE):
        threading.Thread(target=die_with_head, daemon=True).start()
    plain = {name: value for name, value in os.environ.items() if name != LIFELINE}
    begun = exhaustion.mark(exhaustion.own_log())
    command = [sys.executable, "-m", "launch.worker", *folders]
    workers = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**plain, RANK: f"{rank} {world} {os.getpid()}"})
        for rank in range(world)
    ]
    while True:
        codes = [worker.poll() for worker in workers]
        failed = next((code for code in codes if code), None)
        if failed is None and None not in codes:
            return 0
        if failed is not None:
            for worker in workers:
                worker.kill()
                worker.wait()
            if failed < 0:
                _leave(folders, f"rank {codes.index(failed)} was killed by signal {-failed}", begun.evidence(failed))
            return abs(failed)
        time.sleep(POLL)


def _leave(folders: list[str], message: str, starved: str | None) -> None:
    """Leave a message that no worker could, with those nodes that are not done and have none.

    `starved` says that memory ran out, as it will again; a rank that lost the killed one only knows that it did.
    """
    if starved is not None:
        message = f"{exhaustion.WORDS}{starved}; {message}"
    print(message, file=sys.stderr, flush=True)
    for folder in map(Path, folders):
        with contextlib.suppress(OSError):  # the disk may be full
            mine = part.mine(folder)
            if not mine.is_dir() or failure.for_good(mine):
                continue
            if starved is not None:
                failure.leave(mine, message)
            elif not failure.failed(mine):
                failure.leave_lost(mine, message)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
