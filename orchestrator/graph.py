"""The graph: the union of all chains of an experiment, one node for each fingerprint.

Chains that begin alike share their nodes, because equal identities have equal fingerprints. `orchestrator.chains`
makes the graph of an experiment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import TopologicalSorter
from itertools import pairwise
from operator import itemgetter
from typing import Any

from launch.node import InputSpec
from orchestrator.sources import Source
from stages import contract
from stages.identity import fingerprint, identity


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """A stage with its config and its inputs. `label` is for people: the first variant that has the node."""

    stage: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, Node | Source] = field(repr=False)  # a stack of diamonds has 2^n paths, all in its text
    label: str

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The pre-image of the fingerprint."""
        inputs = {kind: given.fingerprint for kind, given in self.inputs.items()}
        return identity(self.stage, self.version, self.config, inputs)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.identity)

    def spec(self) -> InputSpec:
        """How a worker finds its artifact."""
        return InputSpec(fingerprint=self.fingerprint, stage=self.stage, artifact=self.fingerprint)

    def needs(self) -> Iterator[Node]:
        """The nodes whose artifacts this one reads."""
        for given in self.inputs.values():
            origin = given.origin if isinstance(given, Source) else given
            if origin is not None:
                yield origin

    @property
    def continues(self) -> str | None:
        """The field along which it continues a shorter run of its recipe, if its stage has one."""
        return getattr(contract.load(self.stage), "CONTINUES", None)

    def with_value(self, name: str, value: int) -> Node:
        """The node that differs in one field: a shorter run of the same recipe."""
        return replace(self, config={**self.config, name: value})


#: What a chain carries: the latest artifact of each kind.
Context = dict[str, Node | Source]


@dataclass(kw_only=True)
class Graph:
    """Nodes by fingerprint, inputs before what reads them.

    Attributes:
        sources: what comes from outside, by fingerprint.
        variants: variant -> the context at the end of its chain.
        scores: (variant, benchmark) -> the evaluate node of that cell of the result table.
        diagnoses: name -> the diagnose node of that row of the table of diagnoses.
        contamination: (benchmark, kind of data) -> the node that looks for the benchmark's problems in that data.
        references: how often a chain, a benchmark or a data source names a node; what is above the number of nodes
            is shared.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    variants: dict[str, Context] = field(default_factory=dict)
    scores: dict[tuple[str, str], Node] = field(default_factory=dict)
    diagnoses: dict[str, Node] = field(default_factory=dict)
    contamination: dict[tuple[str, str], Node] = field(default_factory=dict)
    references: int = 0
    _edges: dict[str, list[Node]] = field(default_factory=dict)
    _data_alone: set[str] = field(default_factory=set)

    def add(self, node: Node) -> Node:
        """The node of this identity: an earlier one if there is one."""
        self.references += 1
        for given in node.inputs.values():
            if isinstance(given, Source):
                self.sources.setdefault(given.fingerprint, given)
        return self.nodes.setdefault(node.fingerprint, node)

    def shorter(self, node: Node) -> list[tuple[int, str]]:
        """The (value, fingerprint) of all shorter runs of a node's recipe that it may continue from, longest first.

        In this graph or not: so each costs a fingerprint, and only a node that is about to run is asked.
        """
        name = node.continues
        if name is None:
            return []
        return [(value, node.with_value(name, value).fingerprint) for value in range(node.config[name] - 1, 0, -1)]

    def waits_for(self, node: Node) -> list[Node]:
        """Its inputs, and the longest shorter run of its recipe that this graph has anyway."""
        return self._edges[node.fingerprint]

    def for_data_alone(self, node: Node) -> bool:
        """Whether others read data that a node makes, and nothing else of it: it is no part of any chain."""
        return node.fingerprint in self._data_alone

    def sort(self) -> None:
        """Settle what waits for what, and put every node behind all that it waits for."""
        before = self._predecessors()
        self._edges = {}
        for key, node in self.nodes.items():  # of a part of a graph: what is done may need what is there no more
            needs = [need for need in node.needs() if need.fingerprint in self.nodes]
            self._edges[key] = list(dict.fromkeys([*needs, *before.get(key, ())]))
        read = {given.fingerprint for node in self.nodes.values() for given in node.inputs.values()}
        sources = [each for node in self.nodes.values() for each in node.inputs.values() if isinstance(each, Source)]
        made = {source.origin.fingerprint for source in sources if source.origin is not None}
        self._data_alone = made - read
        behind = {key: [need.fingerprint for need in needs] for key, needs in self._edges.items()}
        self.nodes = {key: self.nodes[key] for key in TopologicalSorter(behind).static_order()}

    def _predecessors(self) -> dict[str, list[Node]]:
        """Fingerprint -> the longest shorter run of the same recipe in this graph, for nodes that have one."""
        recipes: dict[str, list[tuple[int, Node]]] = {}
        for node in self.nodes.values():
            name = node.continues
            if name is not None:
                # Runs of a recipe differ in this field alone. Their configs are of one class, with numbers of one type,
                # so plain JSON tells them apart as well as a fingerprint, in a tenth of the time.
                recipe = json.dumps(node.with_value(name, 0).identity, sort_keys=True)
                recipes.setdefault(recipe, []).append((node.config[name], node))
        found: dict[str, list[Node]] = {}
        for runs in recipes.values():
            runs.sort(key=itemgetter(0))
            found |= {longer.fingerprint: [shorter] for (_, shorter), (_, longer) in pairwise(runs)}
        return found
