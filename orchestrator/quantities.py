"""The numbers that claims are about, seed by seed, from the artifacts: scores, curves, diagnoses, sets of neurons."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from orchestrator import names, readable, report
from orchestrator.claim import Term
from orchestrator.command import Study
from orchestrator.document import paper
from orchestrator.estimate import Shares
from orchestrator.graph import Node
from orchestrator.solved import NUMBERS, Solved
from stages import jsonfile

#: The name of a module -> its layer and its kind.
_MODULE = re.compile(r".*\.layers\.(\d+)\.(?:.*\.)?(\w+)")


class Absent(Exception):
    """A number is not there yet, or its artifact does not say it: what is missing."""


class Quantities:
    """The numbers of one study."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._columns = report.columns_of(study.experiment)
        self._solved = Solved(study.graph, study.store)
        self._curves: dict[Path, list[dict[str, float]]] = {}

    @property
    def experiment(self) -> str:
        """The name of the study's experiment."""
        return self._study.experiment.name

    def lacks(self, terms: Sequence[Term]) -> list[str]:
        """What a study does not have of what these numbers are of, each thing once: `row DFT+RL`."""
        return list(dict.fromkeys(each for term in terms if (each := self._lacks(term)) is not None))

    def _lacks(self, term: Term) -> str | None:
        experiment = self._study.experiment
        if term.diagnosis is not None:
            return None if term.diagnosis in experiment.seeded_diagnoses else f"diagnosis {term.diagnosis}"
        of = experiment.seeded_variants.get(self._named(term.row or ""))
        if not of:
            return f"row {term.row}"
        if term.of is not None and term.of not in self._columns:
            return f"column {term.of}"
        if term.of is not None and not self.weights(term):
            return f"benchmark of {term.of} with more than one sample a problem"
        if term.reset is not None and self._repair(next(iter(of.values()))) is None:
            return f"rejuvenation in the chain of {term.reset}"
        return None

    def seeds(self, term: Term) -> list[int]:
        """The seeds that a number has in this study."""
        experiment = self._study.experiment
        if term.diagnosis is not None:
            return list(experiment.seeded_diagnoses.get(term.diagnosis, {}))
        return list(experiment.seeded_variants.get(self._named(term.row or ""), {}))

    def resets(self, terms: Sequence[Term]) -> dict[str, float]:
        """Row -> the share of its neurons that are reset, the mean over seeds; of the rows that reset some."""
        found: dict[str, float] = {}
        for row in dict.fromkeys(row for term in terms for row in self._rows(term)):
            ratios = []
            for variant in self._study.experiment.replicas.get(row, []):
                node = self._repair(variant)
                record = None if node is None else self._study.store.record(node.stage, node.fingerprint)
                ratio = None if record is None else record["summary"].get("reset_ratio")
                if isinstance(ratio, int | float) and ratio > 0:
                    ratios.append(float(ratio))
            if ratios:
                found[row] = fmean(ratios)
        return found

    def _rows(self, term: Term) -> Iterator[str]:
        """The rows that a number is of, by the names that are shown."""
        experiment = self._study.experiment
        if term.row is not None:
            yield self._named(term.row)
        for label in experiment.seeded_diagnoses.get(term.diagnosis or "", {}).values():
            diagnosis = experiment.diagnoses.get(label)
            if diagnosis is not None:
                yield from (diagnosis.checkpoint, diagnosis.reference)

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
        if term.reset is not None:
            return self._reset(term, seed)
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
        """Benchmark -> its weight in the column of a score; one sample has no gap, so that nothing may be left."""
        assert term.of is not None
        experiment, columns = self._study.experiment, self._columns
        if term.number == "gap":
            alone = {name for name, each in experiment.benchmarks.items() if each.evaluate.get("k") == 1}
            columns = {name: [each for each in members if each not in alone] for name, members in columns.items()}
            found = report.weights(columns, term.of)
            return found if found.keys() <= experiment.benchmarks.keys() - alone else {}
        return report.weights(columns, term.of)

    def _row(self, shown: str, seed: int) -> str:
        return self._study.experiment.seeded_variants[self._named(shown)][seed]

    def _named(self, row: str) -> str:
        """What the study calls a row of the paper: in the paper's experiments ModSFT may be SFT-2."""
        known = self._study.experiment.seeded_variants
        names = paper.same(row) if row not in known and paper.is_of(self.experiment) else [row]
        return next((name for name in names if name in known), row)

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
                steps = [jsonfile.parse(line) for line in jsonfile.text(file).splitlines()]
            except (OSError, ValueError) as error:
                raise Absent(f"{names.full(node)}: no curve of its training ({error})") from None
            self._curves[file] = [step for step in steps if isinstance(step, dict)]
        values = [step[term.number] for step in self._curves[file] if step.get(term.number) is not None]
        if not values:
            raise Absent(f"{names.full(node)}: its curve has no {term.number}")
        if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
            raise Absent(f"{names.full(node)}: its curve has a {term.number} that is no finite number")
        return values[-1] if term.at == "last" else fmean(values)

    def _repair(self, variant: str) -> Node | None:
        """The last rejuvenation in the chain of a variant."""
        given = self._study.graph.variants[variant].get("checkpoint")
        while isinstance(given, Node) and given.stage != "rejuvenate":
            given = given.inputs.get("checkpoint")
        return given if isinstance(given, Node) else None

    def _reset(self, term: Term, seed: int) -> float:
        """The share of the neurons that are reset, among some modules."""
        node = self._repair(self._row(term.reset or "", seed))
        assert node is not None, "a study without it has no such number"
        folder = self._study.store.find(node.stage, node.fingerprint)
        if folder is None:
            raise Absent(names.full(node))
        try:
            modules = readable.read(folder, "summary.json")["modules"]
            return reset_ratio(modules, term.kinds, late=term.layers == "late")
        except readable.Unreadable as error:
            raise Absent(str(error)) from None
        except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
            raise Absent(f"{names.full(node)}: its summary.json does not say what it reset in these modules") from None


def reset_ratio(modules: Mapping[str, Any], kinds: Sequence[str], *, late: bool) -> float:
    """The share of the neurons that are reset, among the modules of some kinds (all, if none) and layers.

    Args:
        modules: name of a module -> its `neurons` and how many of them are `selected`.
        late: the last quarter of the layers, rounded up, alone.

    Raises:
        ValueError, KeyError, ZeroDivisionError: there are no such modules, or they do not say it.
    """
    placed = {name: place for name in modules if (place := _MODULE.fullmatch(name)) is not None}
    layers = sorted({int(place[1]) for place in placed.values()})
    wanted = layers[-math.ceil(len(layers) / 4) :] if late else layers
    chosen = [
        modules[name] for name, place in placed.items() if int(place[1]) in wanted and (not kinds or place[2] in kinds)
    ]
    return float(sum(each["selected"] for each in chosen) / sum(each["neurons"] for each in chosen))


def _number(found: Mapping[str, object], term: Term, node: Node) -> float:
    value = found.get(term.number)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise Absent(f"{names.full(node)}: has no {term.number}")
    return float(value)
