"""How long a report takes: 20 rows by 9 benchmarks by 3 seeds, with every figure, of artifacts that nobody trained.

python -m bench.report          # publishes some 800 artifacts in a temporary folder first
"""

from __future__ import annotations

import copy
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.orchestrator.document.synthetic import Synthetic

ROWS, BENCHMARKS, SEEDS = 20, 9, 3

#: Seconds that it may take.
LIMIT = 30


def grown(config: dict[str, Any]) -> None:
    """Make a composed experiment as large as this is about."""
    known = list(config["benchmark"].items())
    for number in range(BENCHMARKS - len(known)):
        name, benchmark = known[number % len(known)]
        again = copy.deepcopy(benchmark)
        again["evaluate"]["k"] = again["evaluate"].get("k", 1) + 1  # an evaluation of its own
        config["benchmark"][f"{name}_{number}"] = again
    chains = dict(config["variants"])
    for epochs in range(5, 5 + ROWS - len(chains)):
        chains[f"SFT-{epochs}+RL"] = [{"sft": {"epochs": epochs}}, "grpo"]
    config["variants"] = {
        f"{name}{f'@seed={seed}' if seed else ''}": _seeded(chain, seed)
        for name, chain in chains.items()
        for seed in range(SEEDS)
    }


def _seeded(chain: list[Any], seed: int) -> list[Any]:
    """The same chain with another seed of its SFT."""
    (first, *others) = copy.deepcopy(chain)
    first["sft"]["seed"] = seed
    return [first, *others]


def main() -> None:
    """Publish, make the report, and say what it took."""
    with tempfile.TemporaryDirectory() as folder:
        study = Synthetic(Path(folder) / "store", change=grown)
        study.publish()
        rows, evaluations = len(study.study.experiment.variants), len(study.study.graph.scores)
        print(f"{len(study.nodes)} artifacts: {rows} variants, {evaluations} evaluations")
        began, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
        made = study.write(Path(folder) / "report")
        wall, cpu = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_utime - used
        page = (Path(folder) / "report" / "report.html").stat().st_size
        print(f"{len(made.tables())} tables, {len(made.figures())} figures, a page of {page / 1e6:.1f} MB")
        print(f"{wall:.1f} s, {cpu:.1f} s of a core; limit: {LIMIT} s")


if __name__ == "__main__":
    main()
