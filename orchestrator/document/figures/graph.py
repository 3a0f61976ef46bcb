"""The graph of a study as a picture: who continues whom, with states and times."""

from __future__ import annotations

from typing import Any

from orchestrator.document import canvas, lineage
from orchestrator.document.blocks import Figure
from orchestrator.document.costs import duration
from orchestrator.document.lineage import SIGNS, Box
from orchestrator.document.material import Material

#: Of a box and the gap between boxes, in inches.
_WIDE, _HIGH, _RIGHT, _DOWN = 1.85, 0.5, 0.3, 0.14

#: State -> colour of the edge and its style.
_EDGES = {
    "done": (canvas.COLOURS[2], "-"),
    "running": (canvas.COLOURS[0], "-"),
    "queued": (canvas.COLOURS[0], ":"),
    "failed": (canvas.COLOURS[1], "-"),
    "blocked": (canvas.COLOURS[1], ":"),
    "run": (canvas.INK, "--"),
}


def picture(material: Material) -> Figure:
    """The graph, from left to right."""
    boxes = lineage.boxes(material)
    depths, lines = lineage.depths(boxes), lineage.places(boxes)
    across, down = _WIDE + _RIGHT, _HIGH + _DOWN
    width = across * (max(depths.values(), default=0) + 1) - _RIGHT + 0.1
    height = down * (max(lines.values(), default=0) + 1) - _DOWN + 0.1
    corner = {box.key: (0.05 + across * depths[box.key], 0.05 + down * lines[box.key]) for box in boxes}

    def paint(drawing: Any) -> None:
        axes = drawing.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        for box in boxes:
            _box(axes, box, *corner[box.key])
            if box.parent in corner:
                _edge(axes, corner[box.parent], corner[box.key])

    seen = [state for state in SIGNS if any(box.state == state for box in boxes)]
    legend = ", ".join(f"{SIGNS[state]} {_MEANS[state]}" for state in seen)
    return canvas.draw(
        "graph",
        "The graph of the study",
        f"Each box is a stage ({legend}); time is the sum of its nodes; nodes that differ in their seeds alone are one "
        "box, ×2 and so on. Not drawn: the search for contamination, and that evaluations, attributions and "
        "rejuvenations read the base too.",
        f"{len(boxes)} stages from the base model to the last checkpoints, with their states",
        (width, height),
        paint,
    )


_MEANS = {
    "done": "done",
    "running": "running",
    "queued": "queued",
    "failed": "failed",
    "run": "to be run",
    "blocked": "blocked",
}


def _box(axes: Any, box: Box, x: float, y: float) -> None:
    from matplotlib.patches import FancyBboxPatch

    colour, style = _EDGES[box.state]
    shape = FancyBboxPatch(
        (x, y),
        _WIDE,
        _HIGH,
        boxstyle="round,pad=0,rounding_size=0.06",
        facecolor="none",
        edgecolor=colour,
        linestyle=style,
        linewidth=1.3,
    )
    axes.add_patch(shape)
    several = f" ×{len(box.entries)}" if len(box.entries) > 1 else ""
    part = f" {box.done}/{len(box.entries)}" if several and box.done < len(box.entries) else ""
    time = f" · {duration(box.seconds)}" if box.seconds else ""
    inside = ", ".join(f"{done}/{total} {kind[:4]}." for kind, (done, total) in box.inside.items())
    texts = (
        (f"{SIGNS[box.state]} {box.stage}{several}{part}{time}", 7, "normal"),
        (canvas.label(box.label, 25), 7, "bold"),
        (inside, 6.5, "normal"),
    )
    for number, (text, size, weight) in enumerate(texts):
        axes.text(x + 0.07, y + 0.12 + 0.145 * number, text, fontsize=size, fontweight=weight, va="center", ha="left")


def _edge(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From the right side of a box to the left one of another: out, along, in."""
    out, middle, into = start[0] + _WIDE, end[0] - _RIGHT / 2, end[0]
    up, down = start[1] + _HIGH / 2, end[1] + _HIGH / 2
    axes.plot([out, middle, middle, into], [up, up, down, down], color=canvas.INK, linewidth=0.8, zorder=0)
