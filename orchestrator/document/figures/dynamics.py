"""Figure 4 and our training curves: what RL and SFT looked like while they ran.

Of a row with several seeds the line is their mean, and the band is from the lowest to the highest of them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.document import canvas
from orchestrator.document.artifacts import Lacking, Unmade, together
from orchestrator.document.blocks import Figure
from orchestrator.document.material import MOST, Material
from orchestrator.document.rows import Line
from orchestrator.graph import Node

#: Points of a curve above which it is smoothed, for legibility; its caption says so.
DENSE = 120

#: x, and for each seed the values there.
Curve = tuple[list[float], list[list[float]]]


def gradients(material: Material) -> Figure:
    """Figure 4: average gradient norm and weight update magnitude of RL, checkpoint by checkpoint."""
    runs = _runs(material, material.trained, "training.jsonl", lambda line: line.rl, "RL")
    panels: dict[str, Callable[[list[dict[str, Any]]], float | None]] = {
        "average gradient norm": lambda rows: _mean(rows, "gradient_norm"),
        "weight update magnitude": lambda rows: _last(rows, "distance_start"),
    }
    numbers = {
        title: {name: [v for rows in seeds if (v := of(rows)) is not None] for name, seeds in runs.items()}
        for title, of in panels.items()
    }
    if not any(values for panel in numbers.values() for values in panel.values()):
        raise Lacking("no RL run has recorded gradient norms or distances: they are of an earlier version")

    def paint(drawing: Any) -> None:
        for axes, (title, panel) in zip(drawing.subplots(1, 2), numbers.items(), strict=True):
            for place, (name, values) in enumerate(panel.items()):
                if values:
                    axes.bar(place, statistics.fmean(values), **canvas.bar(material.number(name)))
                    axes.plot([place] * len(values), values, linestyle="none", marker="_", color=canvas.INK)
            names = [canvas.label(name.removesuffix("+RL"), 22) for name in panel]
            axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
            axes.set(title=title, ylabel="norm" if title.startswith("average") else "|policy - start| / |start|")
            axes.grid(axis="x", visible=False)

    return canvas.draw(
        "figure04",
        "Figure 4: average gradient norm and weight update magnitude of RL",
        "By the checkpoint that RL starts from. Left: the mean over all steps of the gradient's norm before clipping. "
        "Right: how far the policy is from its start at the last step. The bar is the mean over seeds, each dash is "
        "one seed.",
        f"Bars of the gradient norm and the update magnitude of RL from {', '.join(runs)}",
        (8.2, 3.4),
        paint,
    )


#: Column of training.jsonl -> the axis.
_RL = {
    "reward": "reward",
    "gradient_norm": "gradient norm",
    "distance_start": "|policy - start| / |start|",
    "entropy": "entropy (nats)",
    "kl": "KL to the reference",
    "completion_length": "tokens of a completion",
}

_SFT = {"loss": "training loss (nats)", "entropy": "entropy (nats)", "gradient_norm": "gradient norm"}


def rl(material: Material) -> Figure:
    """Ours: RL step by step."""
    runs = _runs(material, material.trained, "training.jsonl", lambda line: line.rl, "RL")
    return _panels(material, "rl_dynamics", "Training dynamics of RL", runs, "rollout", _RL)


def sft(material: Material) -> Figure:
    """Ours: SFT by epoch."""
    rows = material.rows
    chosen: dict[str, str] = {}
    for name in material.main:
        node = rows.first(name).sft
        if node is not None:
            chosen.setdefault(node.fingerprint, name)
    names = list(chosen.values())[:MOST]
    runs = _runs(material, names, "training.jsonl", lambda line: line.sft, "SFT")
    runs = {name.removesuffix("+RL"): seeds for name, seeds in runs.items()}
    return _panels(material, "sft_dynamics", "Training dynamics of SFT", runs, "epoch", _SFT)


def validation(material: Material) -> Figure:
    """Ours: pass@1 on held-out training problems while RL ran."""
    runs = _runs(material, material.trained, "validation.jsonl", lambda line: line.rl, "RL with validations")
    columns = {"pass@1": "pass@1 on validation problems"}
    return _panels(material, "rl_validation", "Validation while RL runs", runs, "rollout", columns)


def _panels(
    material: Material,
    name: str,
    title: str,
    runs: Mapping[str, list[list[dict[str, Any]]]],
    x: str,
    columns: Mapping[str, str],
) -> Figure:
    """A panel for each column that somebody recorded, a line for each row."""
    curves = {
        column: {row: curve for row, seeds in runs.items() if (curve := _curve(seeds, x, column)) is not None}
        for column in columns
    }
    curves = {column: found for column, found in curves.items() if found}
    if not curves:
        raise Lacking(f"the runs have recorded none of {', '.join(columns)}")
    dense = any(len(curve[0]) > DENSE for found in curves.values() for curve in found.values())
    width = min(3, len(curves))
    height = -(-len(curves) // width)

    def paint(drawing: Any) -> None:
        grid = drawing.subplots(height, width, squeeze=False).ravel()
        for axes in grid[len(curves) :]:
            axes.set_visible(False)
        for axes, (column, found) in zip(grid, curves.items(), strict=False):
            for row, (at, values) in found.items():
                _line(axes, at, values, canvas.label(row), canvas.style(material.number(row)))
            axes.set(xlabel=x, ylabel=columns[column])
        canvas.below(drawing, grid[0])

    smoothed = f" Lines of more than {DENSE} points are moving averages." if dense else ""
    return canvas.draw(
        name,
        title,
        f"One line per row; with several seeds their mean, and a band from the lowest to the highest.{smoothed}",
        f"{title}: {', '.join(columns[c] for c in curves)} of {', '.join(runs)}",
        (max(5.5, 3.2 * width + 0.8), 2.6 * height + 0.9),
        paint,
    )


def _runs(
    material: Material, names: Sequence[str], file: str, of: Callable[[Line], Node | None], what: str
) -> dict[str, list[list[dict[str, Any]]]]:
    """Row -> the rows of a file of each of its seeds, for what is published."""
    found: dict[str, list[list[dict[str, Any]]]] = {}
    absent: list[Lacking] = []
    for name in names:
        for line in material.rows.lines[name]:
            node = of(line)
            if node is None:
                continue
            try:
                found.setdefault(name, []).append(material.artifacts.lines(node, file))
            except Lacking as error:
                absent.append(error)
    found = {name: seeds for name, seeds in found.items() if seeds}
    if not found:
        if not absent:
            raise Unmade(f"the study has no {what}")
        raise together(absent, absent[0].why)
    return found


def _curve(seeds: list[list[dict[str, Any]]], x: str, column: str) -> Curve | None:
    """Where some step has a value: x, and the values of each seed that has them all."""
    points = [
        {row[x]: float(row[column]) for row in rows if _is_number(row.get(x)) and _is_number(row.get(column))}
        for rows in seeds
    ]
    points = [each for each in points if each]
    if not points:
        return None
    shared = sorted(set.intersection(*(set(each) for each in points)))
    return (shared, [[each[at] for at in shared] for each in points]) if shared else None


def _line(axes: Any, at: list[float], seeds: list[list[float]], label: str, style: dict[str, Any]) -> None:
    smooth = [_smoothed(values) for values in seeds]
    middle = [statistics.fmean(values) for values in zip(*smooth, strict=True)]
    axes.plot(at, middle, label=label, markevery=max(1, len(at) // 6), **style)
    if len(smooth) > 1:
        low, high = ([of(values) for values in zip(*smooth, strict=True)] for of in (min, max))
        axes.fill_between(at, low, high, color=style["color"], alpha=0.18, linewidth=0)


def _smoothed(values: list[float]) -> list[float]:
    """A centred moving average, shorter at both ends; few points stay as they are."""
    if len(values) <= DENSE:
        return values
    half = max(1, len(values) // (DENSE // 2) // 2)
    return [statistics.fmean(values[max(0, n - half) : n + half + 1]) for n in range(len(values))]


def _mean(rows: list[dict[str, Any]], column: str) -> float | None:
    values = [row[column] for row in rows if _is_number(row.get(column))]
    return statistics.fmean(values) if values else None


def _last(rows: list[dict[str, Any]], column: str) -> float | None:
    values = [row[column] for row in rows if _is_number(row.get(column))]
    return float(values[-1]) if values else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
