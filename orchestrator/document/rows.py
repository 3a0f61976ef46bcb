"""The rows of a study as its chains make them: which is of which checkpoint, before or after RL, and of which seeds.

What a chain is comes from the configs of its nodes, never from its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from orchestrator.command import Study
from orchestrator.experiment import Experiment, Seeded
from orchestrator.graph import Graph, Node

#: Name that is shown -> what it is made of, one for each seed.
Replicas = Mapping[str, list[str]]


def variants(experiment: Experiment) -> Replicas:
    """The rows of the result table, each with its variants."""
    return experiment.replicas


def diagnoses(experiment: Experiment) -> Replicas:
    """The diagnoses that are shown as one."""
    return _members(experiment.seeded_diagnoses)


def differences(experiment: Experiment) -> Replicas:
    """The differences that are shown as one."""
    return _members(experiment.seeded_differences)


def _members(seeded: Seeded) -> Replicas:
    return {name: list(dict.fromkeys(of.values())) for name, of in seeded.items()}


@dataclass(frozen=True)
class Line:
    """One variant's way to its last checkpoint: the nodes that made checkpoints, first to last."""

    name: str
    nodes: list[Node]

    def last(self, stage: str) -> Node | None:
        """The last node of a stage in the chain."""
        return next((node for node in reversed(self.nodes) if node.stage == stage), None)

    @property
    def end(self) -> Node | None:
        return self.nodes[-1] if self.nodes else None

    @cached_property
    def rl(self) -> Node | None:
        """The RL that it ends with."""
        return self.end if self.end is not None and self.end.stage == "grpo" else None

    @cached_property
    def sft(self) -> Node | None:
        return self.last("sft")

    @cached_property
    def repair(self) -> Node | None:
        return self.last("rejuvenate")

    @property
    def epochs(self) -> int | None:
        """Epochs of its SFT."""
        return None if self.sft is None else int(self.sft.config["epochs"])

    def repaired(self, name: str) -> Any:
        """A field of its rejuvenation; None if it has none, or a record's config lacks the field."""
        return None if self.repair is None else self.repair.config.get(name)


@dataclass(frozen=True)
class Rows:
    """Every row of a study, by the name that is shown; structure is that of its first seed."""

    study: Study

    @cached_property
    def replicas(self) -> Replicas:
        return variants(self.study.experiment)

    @cached_property
    def lines(self) -> dict[str, list[Line]]:
        """Name -> the chain of each of its seeds."""
        graph = self.study.graph
        return {name: [line(graph, each) for each in members] for name, members in self.replicas.items()}

    def first(self, name: str) -> Line:
        return self.lines[name][0]

    @cached_property
    def starts(self) -> dict[str, str]:
        """Row after RL -> the row that its RL started from, where the study has it."""
        ends: dict[str, str] = {}
        for name in self.lines:
            end = self.first(name).end
            if end is not None:
                ends.setdefault(end.fingerprint, name)
        found = {}
        for name in self.lines:
            rl = self.first(name).rl
            given = None if rl is None else rl.inputs.get("checkpoint")
            if given is not None and given.fingerprint in ends:
                found[name] = ends[given.fingerprint]
        return found

    def scored(self, name: str, benchmark: str) -> list[Node]:
        """The evaluations of a row on a benchmark, one for each seed."""
        scores = self.study.graph.scores
        return [scores[each, benchmark] for each in self.replicas[name] if (each, benchmark) in scores]


def line(graph: Graph, variant: str) -> Line:
    """The chain of a variant."""
    nodes: list[Node] = []
    given = graph.variants.get(variant, {}).get("checkpoint")
    while isinstance(given, Node):
        nodes.append(given)
        given = given.inputs.get("checkpoint")
    return Line(variant, nodes[::-1])
