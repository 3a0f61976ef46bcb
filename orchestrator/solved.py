"""What each problem was worth in an evaluation: its share of correct samples, its gap, its majority's verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator import parquet
from orchestrator.estimate import Shares, Unpaired
from orchestrator.graph import Graph
from orchestrator.parquet import Type
from stages import spoilt
from stages.jsonfile import Spoilt
from stages.store import Store

#: The numbers of scores.json that are means over problems.
NUMBERS = ("pass@1", "gap", "majority")

#: What problems.parquet says of them.
COLUMNS: dict[str, Type] = {"id": "text", "samples": "integer", "correct": "integer", "majority_correct": "boolean"}

#: What those of earlier times do not say.
LATER = ("majority_correct",)


class Solved:
    """The problems of all evaluations of a study, each read when it is asked for, once."""

    def __init__(self, graph: Graph, store: Store) -> None:
        self._graph = graph
        self._store = store
        self._read: dict[tuple[str, str], Mapping[str, Shares] | None] = {}

    def shares(self, variant: str, benchmark: str, number: str = "pass@1") -> Shares | None:
        """Id -> the number of that problem; None if the evaluation is not published.

        Raises:
            Unpaired: the artifact does not say it.
        """
        cell = variant, benchmark
        if cell not in self._read:
            self._read[cell] = self._numbers(*cell)
        found = self._read[cell]
        if found is not None and number not in found:
            raise Unpaired(f"{variant}, {benchmark}: its problems have no {number}")
        return None if found is None else found[number]

    def _numbers(self, variant: str, benchmark: str) -> Mapping[str, Shares] | None:
        node = self._graph.scores.get((variant, benchmark))
        folder = None if node is None else self._store.find(node.stage, node.fingerprint)
        if folder is None:
            return None
        found = read(folder)
        counts = list(zip(found["correct"], found["samples"], strict=True))
        shares = {
            "pass@1": [correct / samples for correct, samples in counts],
            "gap": [float(correct > 0) - correct / samples for correct, samples in counts],
            "majority": [float(each) for each in found.get("majority_correct", [])],
        }
        return {number: dict(zip(found["id"], each, strict=True)) for number, each in shares.items() if each}


def read(folder: Path) -> dict[str, list[Any]]:
    """The columns of an evaluation's problems.parquet, a value for each problem; older ones have no majority.

    Raises:
        Unpaired: it is not there, or does not say how many samples are right.
    """
    file = folder / "problems.parquet"
    try:
        found = parquet.read(file, COLUMNS, LATER)
        if not all(0 <= right <= of and of > 0 for right, of in zip(found["correct"], found["samples"], strict=True)):
            spoilt.note(file, "a problem has more right samples than samples, or none")
            raise Spoilt("a problem has more right samples than samples, or none")
        return found
    except (OSError, ValueError, KeyError) as error:
        raise Unpaired(f"{folder}: no shares of its problems ({error})") from None
