"""The recipe: every value that the study's nodes were, or will be, run with."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable
from typing import Any

from orchestrator.document import paper
from orchestrator.document.blocks import Block, Cell, Folded, Paragraph, Row, Table
from orchestrator.document.material import Material
from orchestrator.sources import Source

#: A value that is longer is cut.
LONGEST = 160

#: Values of one field that are listed.
MOST = 8


def blocks(material: Material) -> Iterable[Block]:
    """The chains, the sources and the values of every stage."""
    made: list[Block] = [_chains(material), _sources(material)]
    stages: dict[str, dict[str, dict[str, None]]] = {}
    for node in material.study.graph.nodes.values():
        fields = stages.setdefault(node.stage, {})
        for name, value in node.config.items():
            fields.setdefault(name, {})[_text(value)] = None
    rows = [
        Row([Cell(f"{stage}.{name}"), Cell(_several(list(values)))])
        for stage, fields in stages.items()
        for name, values in fields.items()
    ]
    caption = "Where nodes differ, all their values are listed."
    if paper.is_of(material.study.experiment.name):
        caption += " Where each is from, docs/RECIPE.md says."
    values = Table(name="recipe", title="Values by stage", head=["key", "value"], rows=rows, names=2, caption=caption)
    return [*made, Folded(f"Every value of every stage ({len(rows)})", [values])]


def _chains(material: Material) -> Table:
    rows = []
    for name, lines in material.rows.lines.items():
        without = {"seed"} if len(lines) > 1 else set()  # each of several seeds has its own
        steps = [_step(step, without) for step in _chain(material, name)]
        rows.append(Row([Cell(name), Cell(" → ".join(steps)), Cell(str(len(lines)), "", len(lines))]))
    return Table(name="chains", title="Chains", head=["row", "chain", "seeds"], rows=rows, names=2)


def _chain(material: Material, name: str) -> list[Any]:
    member = material.rows.replicas[name][0]
    return material.study.experiment.variants.get(member, [])


def _step(step: Any, without: Container[str]) -> str:
    pins = step.pins
    if not isinstance(pins, str):
        pins = ", ".join(f"{name} {_text(value)}" for name, value in pins.items() if name not in without)
    return f"{step.stage} ({pins})" if pins else str(step.stage)


def _sources(material: Material) -> Block:
    rows = [Row([Cell(source.name), Cell(source.fingerprint[:16])]) for source in _outside(material)]
    if not rows:
        return Paragraph("Everything is made by the study itself; nothing comes from outside.", "note")
    return Table(name="sources", title="What comes from outside", head=["source", "content"], rows=rows, names=2)


def _outside(material: Material) -> list[Source]:
    return [source for source in material.study.graph.sources.values() if source.origin is None]


def _several(values: list[str]) -> str:
    more = f" and {len(values) - MOST} more" if len(values) > MOST else ""
    return " | ".join(values[:MOST]) + more


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
