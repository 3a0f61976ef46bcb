"""Which command makes what is missing: that of the report, with the rows that need it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestrator import hint, names
from orchestrator.document import paper
from orchestrator.document.artifacts import Lacking, Unmade
from orchestrator.document.blocks import Missing
from orchestrator.document.material import Material
from orchestrator.graph import Node

#: The experiment that has every table and figure, in miniature.
WHOLE = "tiny_paper"

#: What begins so, of the paper's experiments this one has; evolm_math has the others.
_PAPER_S = {"Figure 5": "evolm_checkpoints", "Sweep over α": "evolm_alpha", "Sweep over ρ": "evolm_rho"}

#: Keys of a command line that say where an experiment runs, whatever it is.
_WHERE = ("store", "cluster", "hydra.searchpath")

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
        if isinstance(error, Unmade):
            return Missing(what, f"{error.why}; another experiment has it", self.elsewhere(what))
        known = [node for node in error.nodes if node.fingerprint in self.owners]
        owners = list(dict.fromkeys(row for node in known for row in self.owners[node.fingerprint]))
        removed = f"{shlex.join(['rm', '-r', *map(str, error.spoilt)])} && " if error.spoilt else ""
        return Missing(what, error.why, removed + self.rows(owners) if known else "")

    def elsewhere(self, what: str) -> str:
        """The command of an experiment that has what no row of this one makes; of all rows of this one, if it does."""
        mine = self.material.study.experiment.name.partition("@")[0]
        name = _named(what, _PAPER_S, "evolm_math") if paper.is_of(mine) else WHOLE
        if name == mine:
            return self.everything()
        kept = [each for each in self.material.again if each.partition("=")[0] in _WHERE]
        return shlex.join(["python", "-m", "orchestrator", "run", f"+experiment={name}", *kept])

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


def _named(what: str, names: Mapping[str, str], other: str) -> str:
    return next((name for start, name in names.items() if what.startswith(start)), other)


def listed(nodes: Sequence[Node], most: int = 4) -> str:
    """The names of nodes, not too many of them."""
    shown = ", ".join(names.full(node) for node in nodes[:most])
    return shown + (f" and {len(nodes) - most} more" if len(nodes) > most else "")
