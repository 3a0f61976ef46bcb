"""The numbers that claims are about, seed by seed, from the artifacts: scores, training curves, diagnoses."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

from orchestrator import names, report
from orchestrator.claim import Term
from orchestrator.command import Study
from orchestrator.estimate import Shares
from orchestrator.graph import Node
from orchestrator.solved import NUMBERS, Solved


class Absent(Exception):
    """A number is not there yet, or its artifact does not say it: what is missing."""


class Quantities:
    """The numbers of one study."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._columns = report.columns_of(study.experiment)
        self._solved = Solved(study.graph, study.store)
        self._curves: dict[Path, list[dict[str, float]]] = {}

    def seeds(self, term: Term) -> list[int]:
        """The seeds that a number has in this study; none if the study does not have what it is of."""
        experiment = self._study.experiment
        if term.diagnosis is not None:
            return list(experiment.seeded_diagnoses.get(term.diagnosis, {}))
        if term.of is not None and term.of not in self._columns:
            return []
        return list(experiment.seeded_variants.get(term.variant or term.training or "", {}))

    def value(self, term: Term, seed: int) -> float:
        """The number.

        Raises:
            Absent: it is not published.
        """
        if term.variant is not None:
            cells = {name: weight * self._score(term, seed, name) for name, weight in self.weights(term).items()}
            return sum(cells.values())
        if term.training is not None:
            return self._trained(term, seed)
        node = self._study.graph.diagnoses[self._study.experiment.seeded_diagnoses[term.diagnosis or ""][seed]]
        record = self._study.store.record(node.stage, node.fingerprint)
        if record is None:
            raise Absent(names.full(node))
        return _number(record["summary"], term, node)

    def shares(self, term: Term, seed: int, benchmark: str) -> Shares | None:
        """The number of each problem; None if it is none that problems have.

        Raises:
            Unpaired: the artifact does not say it.
        """
        if term.variant is None or term.number not in NUMBERS:
            return None
        return self._solved.shares(self._row(term.variant, seed), benchmark, term.number)

    def weights(self, term: Term) -> Mapping[str, float]:
        """Benchmark -> its weight in the column of a score; one sample has no gap."""
        assert term.of is not None
        experiment, columns = self._study.experiment, self._columns
        if term.number == "gap":
            alone = {name for name, each in experiment.benchmarks.items() if each.evaluate.get("k") == 1}
            columns = {name: [each for each in members if each not in alone] for name, members in columns.items()}
        return report.weights(columns, term.of)

    def _row(self, shown: str, seed: int) -> str:
        return self._study.experiment.seeded_variants[shown][seed]

    def _score(self, term: Term, seed: int, benchmark: str) -> float:
        row = self._row(term.variant or "", seed)
        node = self._study.graph.scores[row, benchmark]
        found = report.numbers(self._study.graph, self._study.store, row, benchmark)
        if found is None:
            raise Absent(names.full(node))
        return _number(found, term, node)

    def _trained(self, term: Term, seed: int) -> float:
        row = self._row(term.training or "", seed)
        node = self._study.graph.variants[row]["checkpoint"]
        folder = self._study.store.find(node.stage, node.fingerprint) if isinstance(node, Node) else None
        if not isinstance(node, Node) or folder is None:
            raise Absent(names.full(node) if isinstance(node, Node) else f"{row}: trains nothing")
        file = folder / "training.jsonl"
        if file not in self._curves:
            try:
                steps = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            except (OSError, ValueError) as error:
                raise Absent(f"{names.full(node)}: no curve of its training ({error})") from None
            self._curves[file] = [step for step in steps if isinstance(step, dict)]
        values = [step[term.number] for step in self._curves[file] if step.get(term.number) is not None]
        if not values:
            raise Absent(f"{names.full(node)}: its curve has no {term.number}")
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            raise Absent(f"{names.full(node)}: its curve has a {term.number} that is no finite number")
        return values[-1] if term.at == "last" else fmean(values)


def _number(found: Mapping[str, object], term: Term, node: Node) -> float:
    value = found.get(term.number)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise Absent(f"{names.full(node)}: has no {term.number}")
    return float(value)
