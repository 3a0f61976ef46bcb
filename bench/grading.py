"""What grading costs: `python -m bench.grading`, the verb `grade` against Math-Verify called in a loop.

Two files are graded by `python -m orchestrator grade`, from the start of the process to its end: distinct ordinary
answers, and as many ordinary as hostile ones, interleaved. The peer is what evaluation harnesses do: `parse` and
`verify` with their signal alarms (5 s each), one answer after another in one process, which gets as long for the
hostile file as `PATIENCE` says. Memory is the sum over the process tree of what each holds alone or shares (PSS).
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench import machine
from bench.answers import Line, hostile, ordinary

ROOT = Path(__file__).parent.parent

#: Seconds that the peer gets for a file.
PATIENCE = 240


@dataclass(frozen=True)
class Run:
    """What grading a file took, and what came of it: a verdict of each line that was reached."""

    seconds: float
    megabytes: float
    verdicts: list[bool | None]


def run(command: list[str], output: Path) -> Run:
    """Run a command that prints a line per answer into `output`."""
    start, peak = time.perf_counter(), 0.0
    with output.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=subprocess.DEVNULL)
        tree = psutil.Process(process.pid)
        while process.poll() is None and time.perf_counter() - start < PATIENCE:
            peak = max(peak, _memory(tree))
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        seconds = time.perf_counter() - start
        process.kill()
        process.wait()
    return Run(seconds, peak, [json.loads(line)["correct"] for line in output.read_text().splitlines()])


def _memory(process: psutil.Process) -> float:
    """Megabytes of a process and its descendants."""
    total = 0
    try:
        for each in [process, *process.children(recursive=True)]:
            total += each.memory_full_info().pss
    except psutil.Error:  # one of them has just ended
        return 0.0
    return total / 1e6


def peer(file: Path) -> None:
    """Math-Verify as harnesses call it: print a line per answer, `correct` null where it raised."""
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    for line in file.read_text().splitlines():
        row = json.loads(line)
        try:
            correct = bool(verify(parse(rf"\boxed{{{row['gold']}}}"), parse(row["completion"])))
        except Exception:
            correct = None
        print(json.dumps({"correct": correct}), flush=True)


def measure(count: int, hangs: int, rounds: int) -> None:
    """Make both files, have them graded, and print what it took."""
    table = Table(
        "file", "by", "s", "answers a second", "peak MB", "reached", "marked", "wrong", title=machine.described()
    )
    files = {
        f"{count} ordinary": list(ordinary(count)),
        f"{count} ordinary, {count} hostile": list(
            chain.from_iterable(zip(ordinary(count, seed=1), hostile(count, hangs), strict=True))
        ),
    }
    ratios = []
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for name, lines in files.items():
            file = Path(scratch) / "answers.jsonl"
            write(file, lines)
            commands = {
                "grade": [sys.executable, "-m", "orchestrator", "grade", str(file)],
                "Math-Verify in a loop": [sys.executable, "-m", "bench.grading", "--peer", str(file)],
            }
            for _ in range(rounds):
                runs = {by: run(command, Path(scratch) / "graded.jsonl") for by, command in commands.items()}
                for by, done in runs.items():
                    table.add_row(name, by, *_figures(lines, done))
                own, other = runs.values()
                ratios.append(f"{name}: {len(own.verdicts) / own.seconds / (len(other.verdicts) / other.seconds):.2f}")
    Console(width=120).print(table)
    print("answers a second, as a multiple of Math-Verify's in a loop:", "; ".join(ratios))


def write(file: Path, lines: Iterable[Line]) -> None:
    """The lines as the verb reads them."""
    rows = ({"kind": "math", "gold": line.gold, "completion": line.completion} for line in lines)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _figures(lines: list[Line], done: Run) -> list[str]:
    reached = list(zip(lines, done.verdicts, strict=False))
    marked = sum(verdict is None for _, verdict in reached)
    wrong = sum(line.correct is not None and verdict is not line.correct for line, verdict in reached)
    speed = f"{len(reached) / done.seconds:.0f}"
    return [f"{done.seconds:.1f}", speed, f"{done.megabytes:.0f}", f"{len(reached)}", f"{marked}", f"{wrong}"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000, help="ordinary answers of each file")
    parser.add_argument("--hangs", type=int, default=50, help="hostile answers of kinds that do not end")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if arguments.peer is not None:
        peer(arguments.peer)
    else:
        measure(arguments.count, arguments.hangs, arguments.rounds)
