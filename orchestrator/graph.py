"""The graph: the union of all chains of an experiment, one node for each fingerprint.

Chains that begin alike share their nodes, because equal identities have equal fingerprints. `orchestrator.chains`
makes the graph of an experiment.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

from orchestrator.sources import Source
from stages import contract
from stages.identity import fingerprint, identity


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """A stage with its config and its inputs. `label` is for people: the first variant that has the node."""

    stage: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, Node | Source]
    label: str

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The pre-image of the fingerprint."""
        inputs = {kind: given.fingerprint for kind, given in self.inputs.items()}
        return identity(self.stage, self.version, self.config, inputs)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.identity)

    def needs(self) -> Iterator[Node]:
        """The nodes whose artifacts this one reads."""
        for given in self.inputs.values():
            origin = given.origin if isinstance(given, Source) else given
            if origin is not None:
                yield origin

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
        references: how often a chain, a benchmark or a data source names a node; what is above the number of nodes
            is shared.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    variants: dict[str, Context] = field(default_factory=dict)
    scores: dict[tuple[str, str], Node] = field(default_factory=dict)
    references: int = 0
    _edges: dict[str, list[Node]] = field(default_factory=dict)

    def add(self, node: Node) -> Node:
        """The node of this identity: an earlier one if there is one."""
        self.references += 1
        for given in node.inputs.values():
            if isinstance(given, Source):
                self.sources.setdefault(given.fingerprint, given)
        return self.nodes.setdefault(node.fingerprint, node)

    def shorter(self, node: Node) -> list[tuple[int, str]]:
        """The (value, fingerprint) of all shorter runs of a node's recipe that it may continue from, longest first."""
        name = getattr(contract.load(node.stage), "CONTINUES", None)
        if name is None:
            return []
        return [(value, node.with_value(name, value).fingerprint) for value in range(node.config[name] - 1, 0, -1)]

    def waits_for(self, node: Node) -> list[Node]:
        """Its inputs, and the longest shorter run of its recipe that this graph has anyway."""
        return self._edges[node.fingerprint]

    def sort(self) -> None:
        """Settle what waits for what, and put every node behind all that it waits for."""
        for node in self.nodes.values():
            shorter = [self.nodes[key] for _, key in self.shorter(node) if key in self.nodes]
            self._edges[node.fingerprint] = [*dict.fromkeys(node.needs()), *shorter[:1]]
        behind = {key: [need.fingerprint for need in needs] for key, needs in self._edges.items()}
        self.nodes = {key: self.nodes[key] for key in TopologicalSorter(behind).static_order()}
