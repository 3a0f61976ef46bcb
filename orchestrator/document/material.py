"""What a report is made of: the study, its artifacts, its rows, and the tables that others have made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.command import Study
from orchestrator.document import paper
from orchestrator.document.artifacts import Artifacts, Lacking, Unmade, together
from orchestrator.document.rows import Line, Rows, diagnoses
from orchestrator.experiment import BASE
from orchestrator.graph import Node
from orchestrator.plan import Entry
from orchestrator.results import Results
from orchestrator.solved import Solved

#: Series that a figure can tell apart.
MOST = 9


@dataclass(frozen=True)
class Comparison:
    """A diagnosis: its nodes, one for each seed, and the rows that it compares, by the names that are shown.

    `node` is the first of them that is published; the first one, if none is.
    """

    name: str
    node: Node
    nodes: Sequence[Node]
    checkpoint: str
    reference: str
    attributed: bool


@dataclass(frozen=True, kw_only=True)
class Material:
    """Everything that sections and figures are made from.

    Attributes:
        again: the overrides of the command line, without `only`: a command that makes what is missing has them too.
        given: all overrides of the command line.
    """

    study: Study
    artifacts: Artifacts
    rows: Rows
    results: Results
    entries: list[Entry]
    again: Sequence[str]
    given: Sequence[str] = ()

    @cached_property
    def main(self) -> list[str]:
        """The rows that figures compare, before RL and after it: the paper's and the control, else the first ones."""
        known = [name for name in self.rows.lines if name.removesuffix("+RL") in paper.main()]
        return known or list(self.rows.lines)

    @cached_property
    def trained(self) -> list[str]:
        """The main rows after RL."""
        return [name for name in self.main if self.rows.first(name).rl is not None][:MOST]

    @cached_property
    def solved(self) -> Solved:
        """The numbers of each problem."""
        return Solved(self.study.graph, self.study.store)

    def number(self, name: str) -> int:
        """Of the colour of a row: the same in every figure, before and after RL; another one for every other row."""
        return self._numbers[name.removesuffix("+RL")]

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Row before RL -> its number, those that most figures compare first."""
        sides = [each.checkpoint for each in self.comparisons]  # which a diagnosis may have that is no row
        names = [*self.main, *self.rows.lines, *sides]
        starts = dict.fromkeys(name.removesuffix("+RL") for name in names)
        return {start: number for number, start in enumerate(starts)}

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every diagnosis."""
        experiment, graph = self.study.experiment, self.study.graph
        shown = {each: name for name, members in self.rows.replicas.items() for each in members}
        found = []
        for name, members in diagnoses(experiment).items():
            of = experiment.diagnoses[members[0]]
            sides = (shown.get(of.checkpoint, of.checkpoint), shown.get(of.reference, of.reference))
            nodes = [graph.diagnoses[each] for each in members if each in graph.diagnoses]
            if nodes:
                node = next((each for each in nodes if self.artifacts.has(each)), nodes[0])
                found.append(Comparison(name, node, nodes, *sides, of.attribution is not None))
        return found

    def before_rl(self) -> list[Comparison]:
        """Checkpoints before RL against the base."""
        return [each for each in self.comparisons if each.reference == BASE and self._line(each).rl is None]

    def by_rl(self) -> list[Comparison]:
        """Checkpoints after RL against those that it started from."""
        return [each for each in self.comparisons if self.rows.starts.get(each.checkpoint) == each.reference]

    def after_rl(self) -> list[Comparison]:
        """Checkpoints after RL against the base."""
        return [each for each in self.comparisons if each.reference == BASE and self._line(each).rl is not None]

    def attributed(self) -> Comparison:
        """The diagnosis that knows which neurons are reset.

        Raises:
            Lacking: the study has none.
        """
        found = [each for each in self.comparisons if each.attributed]
        if not found:
            raise Unmade("the study has no diagnosis with an attribution")
        return next((each for each in found if self.artifacts.has(each.node)), found[0])

    def sweep(self, stage: str, field: str) -> list[tuple[float, str]]:
        """Rows after RL that differ in one field of a stage alone: (value, name), the largest such family.

        Seeds do not count, but how many there are does: a curve is of one kind of runs.
        """
        families: dict[str, dict[float, str]] = {}
        for name, lines in self.rows.lines.items():
            node = lines[0].last(stage)
            if lines[0].rl is not None and node is not None:
                key = json.dumps([len(lines), _but(lines[0], node, field)], sort_keys=True)
                families.setdefault(key, {}).setdefault(float(node.config[field]), name)
        largest = max(families.values(), key=len, default={})
        return sorted(largest.items()) if len(largest) > 1 else []

    def _line(self, comparison: Comparison) -> Line:
        return self.rows.lines.get(comparison.checkpoint, [Line(comparison.checkpoint, [])])[0]


def _but(line: Line, node: Node, field: str) -> list[Any]:
    """A chain's configs without seeds, and without one field of one node."""
    without = {"seed"}
    return [
        [each.stage, {k: v for k, v in each.config.items() if k not in without and (each is not node or k != field)}]
        for each in line.nodes
    ]


def gather(
    items: Iterable[Comparison], read: Callable[[Comparison], Mapping[str, Any]], what: str
) -> dict[str, Mapping[str, Any]]:
    """Checkpoint -> what is read of its diagnosis, for those that can be read.

    Raises:
        Lacking: none can.
    """
    found, absent = {}, []
    for item in items:
        try:
            found[item.checkpoint] = read(item)
        except Lacking as error:
            absent.append(error)
    if not found:
        if not absent:
            raise Unmade(f"the study has no diagnosis of {what}")
        raise together(absent)
    return found
