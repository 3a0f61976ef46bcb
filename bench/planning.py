"""What is measured, each in a process of its own: `python -m bench.planning plan|publish SHAPE SIZE STORE`.

`plan` prints the seconds (of the processor, and by the clock) from an experiment to its plan, fingerprints and the look
at the store included; `publish` puts an artifact for every node into the store, with a record of the size of real ones.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import stages
from bench import shapes
from orchestrator import chains, plan
from orchestrator.graph import Node
from orchestrator.sources import Sources
from stages import artifact
from stages.store import Store

#: The files of a small checkpoint, and the bytes of each: sizes are looked at, contents are not.
_OUTPUTS = {"model/config.json": 8, "model/model.safetensors": 64, "model/tokenizer.json": 16, "summary.json": 4}

#: Pads a record to the three kilobytes of real ones: versions of packages, the machine, job ids.
_PROVENANCE = {f"package-{number}": "1.23.4+build" for number in range(60)}


def measure(shape: str, size: int, store: Path) -> dict[str, Any]:
    """Plan once."""
    experiment = shapes.experiment(shape, size, store)
    started, clock = time.process_time(), time.perf_counter()
    graph = chains.expand(experiment, Sources(store))
    opened = Store(store)
    entries = plan.make(graph, opened)
    opened.remember()
    seconds, wall = time.process_time() - started, time.perf_counter() - clock
    return {
        "seconds": seconds,
        "wall": wall,
        "nodes": len(entries),
        "states": Counter(entry.state for entry in entries),
    }


def publish(shape: str, size: int, store: Path) -> dict[str, Any]:
    """Publish every node, without the syncing that takes a disk minutes."""
    graph = chains.expand(shapes.experiment(shape, size, store), Sources(store))
    for node in graph.nodes.values():
        folder = Store(store).final(node.stage, node.label, node.fingerprint)
        (folder / "model").mkdir(parents=True)
        for path, length in _OUTPUTS.items():
            (folder / path).write_bytes(bytes(length))
        (folder / artifact.RECORD).write_text(json.dumps(_record(node), indent=1))
    return {"nodes": len(graph.nodes)}


def _record(node: Node) -> dict[str, Any]:
    return {
        "schema": artifact.SCHEMA,
        "fingerprint": node.fingerprint,
        "identity": node.identity,
        "label": node.label,
        "config": node.config,
        "inputs": {kind: {"fingerprint": given.fingerprint} for kind, given in node.inputs.items()},
        "outputs": [{"path": path, "size": length, "sha256": "0" * 64} for path, length in _OUTPUTS.items()],
        "summary": {"loss": 0.5},
        "packages": _PROVENANCE,
    }


if __name__ == "__main__":
    verb, shape, size, store = sys.argv[1:]
    stages.__path__.append(str(shapes.STAGES))
    print(json.dumps({"plan": measure, "publish": publish}[verb](shape, int(size), Path(store))))
