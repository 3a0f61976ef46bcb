"""Work of several processes, which meet where torch.distributed would: every step they agree whether to go on."""

import json
import os
import signal
import socket
import time
from typing import Annotated, Any, TextIO

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context, Interrupted, Lost, StageError

VERSION = 1
MAKES = ("checkpoint",)
DISTRIBUTED = True
SAVES = True
SERVES = True

SEEN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """`steps` of so many `seconds` each; in the second one the rank `fails` does, and the last one is lost, or killed,
    so often."""

    steps: Annotated[int, Field(ge=1)]
    seconds: Annotated[float, Field(ge=0)] = 0.0
    fails: int | None = None
    lost: Annotated[int, Field(ge=0)] = 0
    killed: Annotated[int, Field(ge=0)] = 0


def takes(config: Config) -> tuple[str, ...]:
    return ()


def run(config: Config, context: Context) -> dict[str, Any]:
    peers = _meet(context)
    saved = context.work / "saved.json"
    done: dict[str, Any] = json.loads(saved.read_text()) if saved.exists() else {"step": 0, "starts": []}
    own = {name: os.environ.get(name) for name in SEEN}
    starts = [*done["starts"], {"from": done["step"], "ranks": _agree(context.rank, peers, own)}]
    for step in range(done["step"] + 1, config.steps + 1):
        time.sleep(config.seconds)
        if step == 2 and context.rank == config.fails:
            raise StageError(f"toy_ranks.fails={config.fails}: so it does")
        if step == 2 and context.rank == context.world - 1 and len(starts) <= config.lost:
            raise Lost(f"rank {context.rank} is lost")
        if step == 2 and context.rank == context.world - 1 and len(starts) <= config.killed:
            os.kill(os.getpid(), signal.SIGKILL)
        stopping = any(_agree(context.rank, peers, context.stopping()))
        if context.rank == 0:
            saved.with_suffix(".draft").write_text(json.dumps({"step": step, "starts": starts}))
            os.replace(saved.with_suffix(".draft"), saved)
            context.saved.record(step)
            context.progress.update(step, config.steps)
        if stopping and step < config.steps:
            raise Interrupted(f"saved at step {step}")
    if context.rank == 0:
        (context.output / "model.txt").write_text(str(config.steps))
    return {"starts": starts, "servers": _served(context)}


def _served(context: Context) -> list[str]:
    """What the servers say, which may come later than this."""
    files = [context.work / f"server-{number}" for number in range(context.servers)]
    while not all(file.exists() for file in files):
        time.sleep(0.05)
    return [file.read_text() for file in files]


def serve(config: Config, context: Context) -> None:
    """Say where this is, and stay until the others are done."""
    node = os.environ.get("SLURMD_NODENAME")
    draft = context.work / f"draft-{context.rank}"
    draft.write_text(f"{node} for {context.world} of {context.session}")
    draft.rename(context.work / f"server-{context.rank}")
    while not (context.work / "saved.json").exists():
        time.sleep(0.05)


def _meet(context: Context) -> list[TextIO]:
    """Lines to and from the others: rank 0 has one for each, in the order of the ranks, the others one to rank 0."""
    place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    if context.rank == 0 and context.world > 1:
        assert context.listener is not None
        with socket.socket(fileno=context.listener) as server:
            lines = [server.accept()[0].makefile("rw") for _ in range(context.world - 1)]
        return [line for _, line in sorted((int(line.readline()), line) for line in lines)]
    if context.rank == 0:
        return []
    deadline = time.monotonic() + 30
    while True:
        try:
            line = socket.create_connection(place).makefile("rw")
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    print(context.rank, file=line, flush=True)
    return [line]


def _agree(rank: int, peers: list[TextIO], own: Any) -> list[Any]:
    """What all ranks say, in their order; an error if one of them is gone."""
    if rank == 0:
        said = [own, *(json.loads(_heard(line)) for line in peers)]
        for line in peers:
            print(json.dumps(said), file=line, flush=True)
        return said
    print(json.dumps(own), file=peers[0], flush=True)
    found: list[Any] = json.loads(_heard(peers[0]))
    return found


def _heard(line: TextIO) -> str:
    text = line.readline()
    if not text:
        raise ConnectionError("Connection closed by peer")
    return text
