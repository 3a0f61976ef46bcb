"""Shapes: graphs of any size as experiments of toy stages, and as bare edges for the peers.

chain     every node needs the one before: one variant of N steps
fan-out   every node needs the base: a sweep over seeds and epochs, so most continue a shorter one (not for the peers)
diamond   two nodes need one, one needs these two, and so on: 2^(N/3) paths from end to end
grid      variants x benchmarks: √N trainings, each evaluated on √N benchmarks, whose problems come from the base
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from orchestrator import experiment as experiments
from orchestrator.experiment import Experiment

#: Where the toy stages are; whoever wants a graph of them makes them legal stages.
STAGES = Path(__file__).parent / "stages"

SHAPES = ("chain", "fan-out", "diamond", "grid")

#: The fields of the stages that a shape does not pin.
_STAGES: dict[str, dict[str, Any]] = {
    "bench_base": {"seed": 0},
    "bench_train": {"epochs": 1, "learning_rate": 3e-4, "batch": 128, "loss": "nll", "warmup": 0.1},
    "bench_left": {"keep": 0.1},
    "bench_right": {"keep": 0.1},
    "bench_join": {"alpha": 0.5},
    "evaluate": {
        "template": "{{ question }}",
        "temperature": 1.0,
        "top_p": 0.95,
        "max_new_tokens": 32,
        "stop": ["\n"],
        "seed": 0,
        "engine": "vllm",
        "dtype": "float32",
    },
}

_KEPT_IN_BASE = {
    "stage": "bench_base",
    "file": "problems.jsonl",
    "fields": {"question": "{{ prompt }}", "answer": "{{ answer }}"},
}


def experiment(shape: str, size: int, store: Path) -> Experiment:
    """An experiment whose graph has the shape and about `size` nodes."""
    rows, columns = _grid(size)
    variants: dict[str, dict[str, list[Any]]] = {
        "chain": {"chain": [_train(seed, 1) for seed in range(size - 1)]},
        "fan-out": {f"V{i}": [_train(i // 100, i % 100 + 1)] for i in range(size - 1)},
        "diamond": {"diamond": ["bench_left", "bench_right", "bench_join"] * ((size - 1) // 3)},
        "grid": {f"V{i}": [_train(i // 10, i % 10 + 1)] for i in range(rows)},
    }
    plain = {
        "name": shape,
        "seed": 0,
        "store": str(store),
        "only": [],
        "base": ["bench_base"],
        "checkpoint": None,
        "demonstrations": None,
        "problems": None,
        "calibration": None,
        "variants": variants[shape],
        "benchmark": {f"B{i}": _benchmark(i) for i in range(columns)} if shape == "grid" else {},
        "cluster": {"launcher": "inline", "default": {}, "stages": {}},
        **_STAGES,
    }
    return experiments.read(plain, {})


def needs(shape: str, size: int) -> list[tuple[int, ...]]:
    """For each node the nodes it needs, by position; the base is node 0."""
    if shape == "chain":
        return [(), *((i,) for i in range(size - 1))]
    if shape == "fan-out":
        return [(), *((0,) for _ in range(size - 1))]
    if shape == "diamond":
        joins = range(0, size - 3, 3)
        return [(), *(need for i in joins for need in ((i,), (i,), (i + 1, i + 2)))]
    rows, columns = _grid(size)
    return [(), *((0,) for _ in range(rows)), *((0, 1 + row) for row in range(rows) for _ in range(columns))]


def _grid(size: int) -> tuple[int, int]:
    """Variants and benchmarks of a grid of at most `size` nodes."""
    rows = math.isqrt(size - 1)
    return rows, (size - 1 - rows) // rows


def _train(seed: int, epochs: int) -> dict[str, Any]:
    return {"bench_train": {"seed": seed, "epochs": epochs}}


def _benchmark(number: int) -> dict[str, Any]:
    return {"group": "ID", "data": _KEPT_IN_BASE, "evaluate": {"kind": "math", "k": number + 1, "problems": None}}
