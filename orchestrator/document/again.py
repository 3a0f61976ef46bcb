"""Which command makes what is missing: that of the report, with the rows that need it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator import hint, names
from orchestrator.document.artifacts import Lacking
from orchestrator.document.blocks import Missing
from orchestrator.document.material import Material
from orchestrator.graph import Node

#: Rows that one command names; more of them are simply all.
NAMED = 8


@dataclass(frozen=True)
class Again:
    """The commands of a study."""

    material: Material

    def everything(self) -> str:
        return self._command([])

    def rows(self, rows: Iterable[str]) -> str:
        """The command that makes these rows, by the names that are shown."""
        return self._command([row.partition("@")[0] for row in rows])

    def missing(self, what: str, error: Lacking) -> Missing:
        """The block of something that could not be made."""
        known = [node for node in error.nodes if node.fingerprint in self.owners]
        owners = list(dict.fromkeys(row for node in known for row in self.owners[node.fingerprint]))
        return Missing(what, error.why, self.rows(owners) if known else "")

    @cached_property
    def owners(self) -> dict[str, tuple[str, ...]]:
        """Fingerprint -> the rows without which the node is not in the graph: the first row that has it."""
        material, graph = self.material, self.material.study.graph
        found: dict[str, tuple[str, ...]] = {}
        for name in material.rows.lines:
            for variant in material.rows.replicas[name]:
                ends = [node for node in graph.variants.get(variant, {}).values() if isinstance(node, Node)]
                ends += [graph.scores[cell] for cell in graph.scores if cell[0] == variant]
                _claim(ends, (name,), found)
        for each in material.comparisons:
            sides = [row for row in (each.checkpoint, each.reference) if row in material.rows.lines]
            _claim(each.nodes, tuple(dict.fromkeys(sides)), found)
        for node in graph.contamination.values():
            _claim([node], (), found)
        return found

    def _command(self, rows: Sequence[str]) -> str:
        rows = list(dict.fromkeys(rows))
        only = [f"only=[{','.join(map(hint.quoted, rows))}]"] if 0 < len(rows) <= NAMED else []
        return shlex.join(["python", "-m", "orchestrator", "run", *self.material.again, *only])


def _claim(nodes: Iterable[Node], owner: tuple[str, ...], found: dict[str, tuple[str, ...]]) -> None:
    """These nodes and what they need belong to `owner`, unless they belong to somebody."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node.fingerprint not in found:
            found[node.fingerprint] = owner
            waiting += node.needs()


def listed(nodes: Sequence[Node], most: int = 4) -> str:
    """The names of nodes, not too many of them."""
    shown = ", ".join(names.full(node) for node in nodes[:most])
    return shown + (f" and {len(nodes) - most} more" if len(nodes) > most else "")
