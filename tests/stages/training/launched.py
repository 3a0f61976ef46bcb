"""`run("module:function", world, *words)` runs a function in several processes, with the variables a worker sets."""

from __future__ import annotations

import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
#: Seconds until a test gives up on processes that hang; a busy machine may need minutes.
TIMEOUT = 900
#: What the line with the result begins with; libraries print behind it.
RESULT = "RESULT "


def run(target: str, world: int, *words: str) -> list[Any]:
    """What `function(rank, world, *words)` returned on each rank, as JSON."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [_start(target, rank, world, port, words) for rank in range(world)]
    try:
        outputs = [process.communicate(timeout=TIMEOUT)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == 0, output[-4000:]
    lines = [next(line for line in output.splitlines() if line.startswith(RESULT)) for output in outputs]
    return [json.loads(line.removeprefix(RESULT)) for line in lines]


def _start(target: str, rank: int, world: int, port: int, words: tuple[str, ...]) -> subprocess.Popen[str]:
    variables = {
        "RANK": rank,
        "WORLD_SIZE": world,
        "LOCAL_RANK": rank,
        "LOCAL_WORLD_SIZE": world,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "OMP_NUM_THREADS": 1,
        "PYTHONPATH": ROOT,
    }
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    command = [sys.executable, "-m", "tests.stages.training.launched", target, *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


if __name__ == "__main__":
    module, function = sys.argv[1].split(":")
    rank, world = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    result = getattr(importlib.import_module(module), function)(rank, world, *sys.argv[2:])
    print("\n" + RESULT + json.dumps(result), flush=True)
