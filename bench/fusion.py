"""Fuse-and-reset of two random checkpoints, against what reading, copying and hashing them takes, and against mergekit.

The floor is what any tool has to do with the same bytes: read both checkpoints, `cp` one, `sync`, `sha256sum` of the
copy. It is also given with Python's SHA-256, which uses the processor's instructions for it where it has them, as
coreutils' often does not. What is timed, of this project and of mergekit, runs in a process of its own with its
imports done.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table
from safetensors import safe_open

from bench import machine
from bench.checkpoints import RHO, WIDTH, Size, study
from stages import artifact, rejuvenate
from stages.contract import Context, Input, Resources
from stages.identity import fingerprint, identity
from stages.progress import Progress

ALPHA = 0.45

#: What the floor consists of, beside one of two ways to hash the copy.
STEPS = ("read both", "cp of one", "sync")
HASHES = ("sha256sum", "Python's SHA-256")


def floor(folder: Path) -> dict[str, float]:
    """Seconds of each step that any tool has to take."""
    files = {side: sorted((folder / side).glob("*.safetensors")) for side in ("base", "sft")}
    copies = [folder / "copy" / file.name for file in files["sft"]]
    shutil.rmtree(folder / "copy", ignore_errors=True)
    os.sync()
    seconds = {
        STEPS[0]: _seconds(lambda: [_read(file) for side in files.values() for file in side]),
        STEPS[1]: _seconds(lambda: subprocess.run(["cp", "-r", folder / "sft", folder / "copy"], check=True)),
        STEPS[2]: _seconds(os.sync),
        HASHES[0]: _seconds(lambda: subprocess.run(["sha256sum", *copies], check=True, stdout=subprocess.DEVNULL)),
        HASHES[1]: _seconds(lambda: [_hash(file) for file in copies]),
    }
    shutil.rmtree(folder / "copy")
    return seconds


def _read(file: Path) -> None:
    buffer = bytearray(2**20)
    with file.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ours(folder: Path) -> float:
    """Seconds from opening both checkpoints to the published artifact."""
    preimage = identity("rejuvenate", rejuvenate.VERSION, {"alpha": ALPHA}, {})
    record = {"fingerprint": fingerprint(preimage), "identity": preimage, "label": "bench", "config": {}, "inputs": {}}
    shutil.rmtree(folder / "published", ignore_errors=True)
    draft = folder / ".draft"
    draft.mkdir()
    paths = {"base": folder / "base", "checkpoint": folder / "sft", "attribution": folder / "attribution"}
    context = Context(
        inputs={kind: Input(fingerprint=kind, path=path) for kind, path in paths.items()},
        work=folder,
        output=draft,
        resources=Resources(cpus=len(os.sched_getaffinity(0))),
        progress=Progress(folder / "progress.json"),
    )
    from stages.rejuvenation import compatibility, fusion  # noqa: F401 (what `run` imports, before the clock)

    start = time.perf_counter()
    summary = rejuvenate.run(rejuvenate.Config(alpha=ALPHA, rho=RHO), context)
    artifact.publish(draft, folder / "published", {**record, "summary": summary})
    return time.perf_counter() - start


def mergekit(folder: Path) -> float:
    """Seconds of mergekit's linear merge: neither synced nor hashed."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    models = [(folder / "sft", ALPHA), (folder / "base", 1 - ALPHA)]
    config = {
        "merge_method": "linear",
        "dtype": "bfloat16",
        "models": [{"model": str(model), "parameters": {"weight": weight}} for model, weight in models],
    }
    shutil.rmtree(folder / "merged", ignore_errors=True)
    options = MergeOptions(quiet=True, write_model_card=False)
    start = time.perf_counter()
    run_merge(MergeConfiguration.model_validate(config), str(folder / "merged"), options)
    return time.perf_counter() - start


def alone(name: str, folder: Path) -> tuple[float, float]:
    """Seconds, and the peak of anonymous memory in MB, of `ours` or `mergekit` in a process of its own."""
    os.sync()
    done = subprocess.run([sys.executable, "-m", "bench.fusion", name, folder], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stdout}{done.stderr}")
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


@contextmanager
def _memory() -> Iterator[list[float]]:
    """A list that holds the peak of this process's anonymous memory in MB, looked at every 5 ms."""
    peak, stop = [0.0], threading.Event()

    def look() -> None:
        while not stop.wait(0.005):
            lines = Path("/proc/self/status").read_text().splitlines()
            peak[0] = max(peak[0], *(int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon:")))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def differing(folder: Path) -> float:
    """Share of the elements of the embedding, which has no neurons, that differ from mergekit's."""
    name = "model.embed_tokens.weight"
    found = []
    for made in ("published/model", "merged"):
        for shard in (folder / made).glob("*.safetensors"):
            with safe_open(shard, "pt") as file:
                found += [file.get_tensor(name)] if name in file.keys() else []  # noqa: SIM118 (no mapping)
    return (found[0] != found[1]).float().mean().item()


def measure(gigabytes: float, where: Path | None, rounds: int) -> None:
    """Make the checkpoints, run everything `rounds` times in turn, and print it."""
    floors, own, peer = [], [], []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=where) as scratch:
        size, wide = Size.of(gigabytes), Size(4, 300_000, 150_000)
        folder = study(Path(scratch) / "layers", size)
        for _ in range(rounds):
            floors.append(floor(folder))
            own.append(alone("ours", folder))
            peer.append(alone("mergekit", folder))
        share = differing(folder)
        shutil.rmtree(folder)
        large = alone("ours", study(Path(scratch) / "embedding", wide))
    table = Table("step", "s (median)", "range", "GB/s of output", "anonymous memory, MB", title=machine.described())

    def row(name: str, of: Size, seconds: list[float], memory: float | None = None) -> None:
        middle = median(seconds)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        speed = f"{2e-9 * of.parameters / middle:.2f}"
        table.add_row(name, f"{middle:.2f}", spread, speed, "" if memory is None else f"{memory:.0f}")

    for name in floors[0]:
        row(name, size, [steps[name] for steps in floors])
    row(f"rejuvenate, {2e-9 * size.parameters:.2f} GB", size, [s for s, _ in own], max(m for _, m in own))
    row("mergekit's linear merge", size, [s for s, _ in peer], max(m for _, m in peer))
    row(f"rejuvenate, embedding of {2e-9 * wide.vocabulary * WIDTH:.1f} GB", wide, [large[0]], large[1])
    Console(width=120).print(table)
    for name in HASHES:
        least = [sum(steps[each] for each in (*STEPS, name)) for steps in floors]
        print(f"speed, as a multiple of the floor's, with {name}:", _ratios(least, own))
    print("speed, as a multiple of mergekit's:", _ratios([s for s, _ in peer], own))
    print(f"{share:.2%} of the elements differ from mergekit's")


def _ratios(theirs: list[float], own: list[tuple[float, float]]) -> str:
    """How much longer they take than this project: the median of the rounds, and each of them."""
    each = [other / seconds for other, (seconds, _) in zip(theirs, own, strict=True)]
    return f"{median(each):.2f} (rounds: {', '.join(f'{ratio:.2f}' for ratio in each)})"


if __name__ == "__main__":
    with _memory() as peak:
        taken = {"ours": ours, "mergekit": mergekit}[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps([taken, peak[0]]))
