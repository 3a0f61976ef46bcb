"""Figure 5 and our sweeps: the score after RL against epochs of SFT, alpha and rho."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from orchestrator.document import canvas
from orchestrator.document.artifacts import Lacking, Unmade
from orchestrator.document.blocks import Figure
from orchestrator.document.material import Material
from orchestrator.document.scoreboards import seeds
from orchestrator.graph import Node
from orchestrator.report import Score

#: The panels, by the columns of the result table; the paper's figure 5 has them in this order.
PANELS = {"avg": "(a) average of ID and OOD", "ID avg": "(b) average on ID", "OOD avg": "(c) average on OOD"}

#: (x, row).
Points = Sequence[tuple[float, str]]


def checkpoints(material: Material) -> Figure:
    """Figure 5: scores by epochs of SFT, before RL, after RL, and after rejuvenation and RL."""
    series = epochs(material)
    if len(series.get("SFT + RL", ())) < 2:
        raise Unmade("the study has RL from fewer than two SFT checkpoints of one recipe")
    return _scores(
        material,
        "figure05",
        "Figure 5: RL from different SFT checkpoints",
        "epochs of SFT",
        series,
    )


def alpha(material: Material) -> Figure:
    """Ours, table 5 as a picture: the score after RL by the fusion weight."""
    points = material.sweep("rejuvenate", "alpha")
    if not points:
        raise Unmade("the study does not sweep alpha")
    return _scores(material, "sweep_alpha", "Sweep over α", "fusion weight α", {"after RL": points})


def rho(material: Material) -> Figure:
    """Ours, table 6 as a picture: the score after RL by the share of neurons that a target resets."""
    points = [(100 * value, name) for value, name in material.sweep("rejuvenate", "rho")]
    if not points:
        raise Unmade("the study does not sweep rho")
    return _scores(material, "sweep_rho", "Sweep over ρ", "reset percentage ρ (%)", {"after RL": points})


def epochs(material: Material) -> dict[str, Points]:
    """Series -> (epochs, row): of one recipe and one number of seeds, the one that was seen at the most epochs."""
    families: dict[str, dict[str, dict[float, str]]] = {}
    for name, lines in material.rows.lines.items():
        line = lines[0]
        if line.sft is None or line.sft.config.get("loss") != "nll":
            continue
        if line.repair is not None and (line.repaired("neurons") == "random" or not line.repaired("rho")):
            continue
        key = json.dumps([len(lines), _but(line.sft, "epochs")], sort_keys=True)
        what = ("Rejuvenation" if line.repair is not None else "SFT") + (" + RL" if line.rl is not None else "")
        families.setdefault(key, {}).setdefault(what, {}).setdefault(float(line.epochs or 0), name)
    largest = max(families.values(), key=lambda found: len(found.get("SFT + RL", {})), default={})
    order = ("SFT + RL", "Rejuvenation + RL", "SFT", "Rejuvenation")
    return {what: sorted(largest[what].items()) for what in order if what in largest}


def _but(node: Node, field: str) -> dict[str, Any]:
    return {name: value for name, value in node.config.items() if name not in ("seed", field)}


def _scores(
    material: Material,
    name: str,
    title: str,
    x: str,
    series: dict[str, Points],
) -> Figure:
    """A panel for each average that the study has, a line for each series, with standard errors."""
    table = material.results.table
    columns = [column for column in PANELS if column in table.columns] or table.columns[:1]

    def score(row: str, column: str) -> Score | None:
        return table.rows[row][table.columns.index(column)] if row in table.rows else None

    found = {
        column: {
            what: [(at, each) for at, row in points if (each := score(row, column)) is not None]
            for what, points in series.items()
        }
        for column in columns
    }
    rows = [row for points in series.values() for _, row in points]
    there = max(sum(map(len, panel.values())) for panel in found.values())
    if there < 2:
        raise Lacking(f"{there} of its {len(rows)} rows is published yet", _open(material, rows))
    partly = "" if there == len(rows) else f" {there} of {len(rows)} rows are there."
    scale = "log" if x.startswith("epochs") else "linear"

    def paint(drawing: Any) -> None:
        panels = drawing.subplots(1, len(columns), squeeze=False)[0]
        for axes, column in zip(panels, columns, strict=True):
            for number, (what, points) in enumerate(found[column].items()):
                if points:
                    at, scores = zip(*points, strict=True)
                    errors = [100 * (each.error or 0) for each in scores]
                    values = [100 * each.mean for each in scores]
                    axes.errorbar(at, values, yerr=errors, capsize=2.5, label=what, **canvas.style(number))
            axes.set_xscale(scale)
            ticks = sorted({at for points in found[column].values() for at, _ in points})
            axes.set_xticks(ticks, [f"{at:g}" for at in ticks])
            axes.minorticks_off()
            axes.set(title=PANELS.get(column, column), xlabel=x, ylabel="pass@1 (%)")
        canvas.below(drawing, panels[0])

    return canvas.draw(
        name,
        title,
        f"Score by {x}{' (log)' if scale == 'log' else ''}. Bars are standard errors, as in the tables. "
        f"{seeds(material, rows)}{partly}",
        f"{title}: {', '.join(series)}",
        (3.3 * len(columns) + 0.4, 3.5),
        paint,
    )


def _open(material: Material, rows: Sequence[str]) -> list[Node]:
    """The evaluations of these rows that are not published."""
    cells = [(row, benchmark) for row in rows for benchmark in material.study.experiment.benchmarks]
    nodes = [node for cell in cells for node in material.rows.scored(*cell)]
    return [node for node in nodes if not material.artifacts.has(node)]
