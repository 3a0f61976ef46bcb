"""Figures 2, 3 and 11 to 13: how far SFT and RL move the parameters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.document import canvas
from orchestrator.document.artifacts import Lacking, Unmade, together
from orchestrator.document.blocks import Figure
from orchestrator.document.material import Comparison, Material, gather

#: Checkpoints side by side in one figure of maps.
ABREAST = 4


def shifts(material: Material) -> Figure:
    """Figure 2: the distribution of parameter changes from the base, and statistics of them, by checkpoint."""
    artifacts = material.artifacts
    compared = material.before_rl()
    bins = gather(
        compared,
        lambda each: artifacts.columns(each.node, "changes.parquet", ["lower", "upper", "negative", "positive"]),
        "a checkpoint against the base",
    )
    moments = gather(
        compared,
        lambda each: artifacts.columns(
            each.node, "weights.parquet", ["elements", "norm", "norm_reference", "largest", "max_checkpoint"]
        ),
        "a checkpoint against the base",
    )

    named = [name for name in bins if name in moments]

    def paint(drawing: Any) -> None:
        left, *right = drawing.subplots(1, 4, width_ratios=[2.4, 1, 1, 1])
        for name in named:
            x, y = _density(bins[name], sum(moments[name]["elements"]))
            chosen = canvas.style(material.number(name))
            left.plot(x, y, label=canvas.label(name), markevery=max(1, len(x) // 8), **chosen)
        left.set(xscale="log", yscale="log", xlabel="|change| of a parameter", ylabel="share of all parameters")
        left.set_title("distribution")
        for axis in (left.xaxis, left.yaxis):
            canvas.logarithmic(axis)
        for axes, (title, of) in zip(right, _STATISTICS.items(), strict=True):
            for place, name in enumerate(named):
                axes.bar(place, of(moments[name]), **canvas.bar(material.number(name)))
            axes.set_title(title)
            axes.set_xticks(range(len(named)), [canvas.label(name, 20) for name in named], rotation=60, ha="right")
            axes.grid(axis="x", visible=False)
        canvas.below(drawing, left)

    return canvas.draw(
        "figure02",
        "Figure 2: parameter changes and statistics of SFT checkpoints",
        "Change of every parameter from the base model. Left: how many parameters moved how far, by doublings. "
        "Right: the norm of the whole change relative to that of the base, the largest change of one parameter "
        "(a spike) and the largest weight.",
        f"Distributions and statistics of the parameter changes of {', '.join(bins)}",
        (11, 3.9),
        paint,
    )


def _norm(columns: Mapping[str, Any]) -> float:
    squares = math.fsum(each**2 for each in columns["norm_reference"])
    return math.sqrt(math.fsum(each**2 for each in columns["norm"]) / squares) if squares else 0.0


#: Title -> the number of a checkpoint.
_STATISTICS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "|change| / |base|": _norm,
    "largest |change|": lambda columns: max(columns["largest"]),
    "largest |weight|": lambda columns: max(columns["max_checkpoint"]),
}


def _density(columns: Mapping[str, Any], elements: int) -> tuple[list[float], list[float]]:
    """For each doubling of |change| its middle, and the share of all elements in it; 0 is on no logarithmic axis."""
    counts: dict[int, int] = {}
    for lower, negative, positive in zip(columns["lower"], columns["negative"], columns["positive"], strict=True):
        if lower > 0:
            doubling = math.floor(math.log2(lower) + 1e-6)
            counts[doubling] = counts.get(doubling, 0) + negative + positive
    known = sorted(counts.items())
    return [2 ** (doubling + 0.5) for doubling, _ in known], [count / max(elements, 1) for _, count in known]


@dataclass(frozen=True)
class Place:
    """A matrix of the model: of the first layer, or of the last."""

    figure: int
    last: bool
    kind: str


#: The paper's: layers 0 and 27 of 28.
PLACES = (
    Place(3, False, "v_proj"),
    Place(11, False, "k_proj"),
    Place(12, True, "v_proj"),
    Place(13, True, "k_proj"),
)


def maps(place: Place) -> Callable[[Material], Figure]:
    """Figures 3 and 11 to 13: where in one matrix the change is: SFT vs Base, RL vs SFT, RL vs Base."""

    def figure(material: Material) -> Figure:
        tensor, rows = _maps(material, place)
        names = list(dict.fromkeys(name for row in rows.values() for name in row))

        def paint(drawing: Any) -> None:
            from matplotlib.colors import LogNorm

            values = [v for row in rows.values() for cells in row.values() for line in cells for v in line if v > 0]
            top = max(values, default=1.0)
            scale = LogNorm(vmin=max(min(values, default=top), top / 1e4), vmax=max(top, 1e-30))
            grid = drawing.subplots(len(rows), len(names), squeeze=False)
            for line, (title, row) in zip(grid, rows.items(), strict=True):
                for axes, name in zip(line, names, strict=True):
                    _map(axes, row.get(name), scale)
                    axes.set_ylabel(f"{title}\nrow" if name == names[0] else "")
                    if title == list(rows)[0]:
                        axes.set_title(canvas.label(name))
            from matplotlib.cm import ScalarMappable

            bar = drawing.colorbar(ScalarMappable(scale), ax=grid, label="largest |change| in a cell", shrink=0.8)
            canvas.logarithmic(bar.ax.yaxis)

        absent = [title for title in ("SFT vs Base", "RL vs SFT", "RL vs Base") if title not in rows]
        without = f" Not diagnosed in this study: {', '.join(absent)}." if absent else ""
        return canvas.draw(
            f"figure{place.figure:02d}",
            f"Figure {place.figure}: parameter changes of {tensor} by SFT and RL",
            "Each picture is the matrix, cut into cells; its colour is the largest |change| in the cell, on one "
            f"logarithmic scale for all.{without}",
            f"Maps of the change of {tensor} for {', '.join(names)}",
            (1.8 + 2.3 * len(names), 0.9 + 1.75 * len(rows)),
            paint,
        )

    return figure


def _maps(material: Material, place: Place) -> tuple[str, dict[str, dict[str, list[list[float]]]]]:
    """The name of the tensor; title of a row -> row of the study -> its map, for what is published."""
    before, by, after = material.before_rl(), material.by_rl(), material.after_rl()
    starts = {each.reference for each in by} | {material.rows.starts.get(each.checkpoint) for each in after}
    chosen = [each for each in before if each.checkpoint in starts] or before
    chosen = chosen[:ABREAST]
    wanted = {each.checkpoint for each in chosen}
    groups = {
        "SFT vs Base": {each.checkpoint: each for each in chosen},
        "RL vs SFT": {each.reference: each for each in by if each.reference in wanted},
        "RL vs Base": {
            start: each for each in after if (start := material.rows.starts.get(each.checkpoint, "")) in wanted
        },
    }
    name, rows, absent = "", dict[str, dict[str, list[list[float]]]](), list[Lacking]()
    for title, members in groups.items():
        for row, comparison in members.items():
            try:
                name, cells = _cells(material, comparison, place)
                rows.setdefault(title, {})[row] = cells
            except Lacking as error:
                absent.append(error)
    if not rows:
        if not absent:
            raise Unmade("the study has no diagnosis of a checkpoint against the base")
        raise together(absent)
    return name, rows


def _cells(material: Material, comparison: Comparison, place: Place) -> tuple[str, list[list[float]]]:
    columns = ["tensor", "rows", "columns", "largest"]
    found = material.artifacts.columns(comparison.node, "maps.parquet", columns)
    named = {_layer(name): number for number, name in enumerate(found["tensor"]) if f".{place.kind}.weight" in name}
    if not named:
        raise material.artifacts.spoilt(comparison.node, f"{comparison.name} has no {place.kind}.weight")
    number = named[max(named) if place.last else min(named)]
    height, width, flat = (found[name][number] for name in columns[1:])
    lines = [flat[row * width : (row + 1) * width] for row in range(height)]
    return found["tensor"][number].removeprefix("model."), lines


def _layer(name: str) -> int:
    return next((int(part) for part in name.split(".") if part.isdigit()), -1)


def _map(axes: Any, cells: list[list[float]] | None, scale: Any) -> None:
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    if cells is None:
        axes.text(0.5, 0.5, "not there", ha="center", va="center", transform=axes.transAxes)
        return
    floor = [[max(value, scale.vmin) for value in line] for line in cells]
    axes.imshow(floor, norm=scale, aspect="auto", interpolation="nearest")
    axes.set_xlabel(f"column; largest {max(map(max, cells)):.2g}", fontsize=8)
