"""Planning at scale: `python -m bench.plan [--peers VENV]`, how long a plan takes, with what memory, against peers.

Four shapes of 10 to 10,000 nodes. cold: an empty store. read: all is published, and every record is read. warm: the
same again, when records are remembered. Each figure is of a fresh process, in seconds of the processor, because the
clock also measures whoever else uses the machine. The peers get the same graph as bare edges, and are compared as whole
commands, the start of Python included; `bench.peers` says what they do and do not do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import peers, shapes

#: Seconds after which a peer is given up, by the clock.
PATIENCE = 300

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A process that has ended: seconds by the clock and of the processor, peak resident megabytes, what it printed."""

    code: int
    wall: float
    seconds: float
    peak: float
    printed: str


def main(arguments: list[str] | None = None) -> None:
    """Measure, and print as it goes."""
    parser = argparse.ArgumentParser(prog="python -m bench.plan", description=__doc__)
    parser.add_argument("--peers", type=Path, help="a virtual environment with snakemake and dawgz; else the PATH")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 10000])
    parser.add_argument("--shapes", nargs="+", default=list(shapes.SHAPES), choices=shapes.SHAPES)
    parser.add_argument("--repeat", type=int, default=3, help="processes of ours for each figure; the median is shown")
    chosen = parser.parse_args(arguments)
    found = {name: peers.find(name, chosen.peers) for name in peers.NAMES}
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 150)
    table = _table()
    for shape in chosen.shapes:
        for size in chosen.sizes:
            with tempfile.TemporaryDirectory(prefix="bench-plan-") as folder:
                table.add_row(*_row(shape, size, Path(folder), found, chosen.repeat))
            print(f"{shape} {size}", file=sys.stderr)
        table.add_section()
    out.print(table)
    out.print(
        "cold, read, warm: from an experiment to its plan; command: the whole process of a cold plan, which is what"
    )
    out.print(
        "the peers are compared with (×: how many times as long they take; memory is not seen below this process's own)"
    )
    for name in peers.NAMES:
        if found[name] is None:
            out.print(f"{name}: missing; pip install {name} into a virtual environment, and pass --peers VENV")


def _table() -> Table:
    table = Table(title="planning", pad_edge=False)
    table.add_column("shape")
    for column in (
        "nodes",
        "cold s",
        "by the clock",
        "µs/node",
        "read s",
        "warm s",
        "warm/cold",
        "peak MB",
        "command s",
    ):
        table.add_column(column, justify="right")
    for name in ("snakemake -n", "dawgz build"):
        table.add_column(name, justify="right")
    return table


def _row(shape: str, size: int, folder: Path, found: dict[str, Path | None], repeat: int) -> list[str]:
    """Every figure of one graph."""
    cold = [_ours("plan", shape, size, folder / "empty") for _ in range(repeat)]
    _ours("publish", shape, size, folder / "store")
    read = _ours("plan", shape, size, folder / "store")
    warm = [_ours("plan", shape, size, folder / "store") for _ in range(repeat)]
    nodes = _said(cold[0])["nodes"]
    assert _said(cold[0])["states"] == {"run": nodes} and _said(warm[0])["states"] == {"done": nodes}
    command = statistics.median(each.seconds for each in cold)
    return [
        shape,
        str(nodes),
        f"{_median(cold):.3f}",
        f"{_median(cold, 'wall'):.3f}",
        f"{_median(cold) / nodes * 1e6:.0f}",
        f"{_median([read]):.3f}",
        f"{_median(warm):.3f}",
        f"{_median(warm) / _median(cold):.2f}",
        f"{max(each.peak for each in (*cold, read, *warm)):.0f}",
        f"{command:.2f}",
        *(_peer(name, program, shape, size, folder / name, command) for name, program in found.items()),
    ]


def _ours(verb: str, shape: str, size: int, store: Path) -> Figures:
    done = _run([sys.executable, "-m", "bench.planning", verb, shape, str(size), str(store)], ROOT)
    if done.code:
        sys.exit(f"bench.planning {verb} {shape} {size} failed")
    return done


def _peer(name: str, program: Path | None, shape: str, size: int, folder: Path, ours: float) -> str:
    """The cell of a peer: its seconds, how many times ours that is, and its peak memory."""
    if program is None:
        return "missing"
    done = _run(peers.command(name, program, shape, size, folder), folder)
    if done.code:
        return f"stopped after {done.wall:.0f} s" if done.wall >= PATIENCE else f"failed ({done.code})"
    return f"{done.seconds:.2f} s {done.seconds / ours:.1f}× {done.peak:.0f} MB"


def _run(command: list[str], folder: Path) -> Figures:
    """Run a command to its end, or to the end of our patience."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(
            ["timeout", str(PATIENCE), *command], cwd=folder, stdout=printed, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read().decode()
    return Figures(
        code=process.returncode,
        wall=time.perf_counter() - started,
        seconds=used.ru_utime + used.ru_stime,
        peak=used.ru_maxrss / 1024,
        printed=text,
    )


def _said(figures: Figures) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(figures.printed)
    return said


def _median(figures: list[Figures], which: str = "seconds") -> float:
    return float(statistics.median(_said(each)[which] for each in figures))


if __name__ == "__main__":
    main()
