"""How figures are drawn: once, as SVG and PNG, the same bytes each time, legible on light and on dark pages.

Ink and lines have colours that nothing else has, so that a page can exchange them (`for_page`). Series differ by
marker and line style beside their colour, which is of Okabe and Ito's palette. matplotlib is loaded here alone, when
something is drawn. Texts are drawn as outlines and never parsed: `$` and backslashes of a token are just that.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from launch.escape import inline
from orchestrator.document.blocks import Figure

#: What a page may exchange: text and axes, and grids.
INK, LINE, PAPER = "#1b1b1f", "#c9c9d3", "#ffffff"

#: The same on a dark page.
DARK = {INK: "#e6e6ea", LINE: "#44444e", PAPER: "#17171a"}

#: Okabe and Ito's, without the yellow and the black, which one of the two pages would not show.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
STYLES = ("-", "--", "-.", ":")

#: Of a map from little to much: perceptually uniform, and right for the colour-blind.
MAP = "cividis"

#: Dots per inch of the PNG, and pixels of a page per inch.
DPI, PAGE_DPI = 160, 96

_STYLE: dict[str, Any] = {
    "svg.hashsalt": "report",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": LINE,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify": True,
    "image.cmap": MAP,
}


@contextmanager
def _styled() -> Any:
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        yield


def draw(
    name: str, title: str, caption: str, alt: str, size: tuple[float, float], paint: Callable[[Any], None]
) -> Figure:
    """A figure of `size` in inches, which `paint` fills."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    with _styled():
        drawing = Drawing(figsize=size, layout="constrained")
        FigureCanvasAgg(drawing)
        paint(drawing)
        engine = drawing.get_layout_engine()
        if engine is not None and any(axes.get_subplotspec() for axes in drawing.axes):
            engine.execute(drawing)
            for axes in drawing.axes:  # the solver's last digits depend on addresses, and identifiers on all digits
                left, bottom, width, height = (round(each, 5) for each in axes.get_position(original=True).bounds)
                axes.set_position((left, bottom, width, height))
        drawing.set_layout_engine(None)  # laid out once, and not again for each file
        vector, pixels = io.StringIO(), io.BytesIO()
        drawing.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
        drawing.savefig(pixels, format="png", dpi=DPI, facecolor=PAPER, metadata={"Software": None})
    width = round(size[0] * PAGE_DPI)
    return Figure(
        name=name,
        title=title,
        caption=caption,
        alt=alt,
        svg=vector.getvalue(),
        png=pixels.getvalue(),
        width=width,
    )


def label(text: str, longest: int = 34) -> str:
    """A name from outside as it can be drawn: on one line, nothing invisible, not longer than there is room for."""
    plain = inline(text)
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def style(number: int) -> dict[str, Any]:
    """Colour, marker and line style of the series with this number; no two of the first 72 have all in common."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": STYLES[number // len(COLOURS) % len(STYLES)],
    }


#: What bars have beside their colour.
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo", "---")


def bar(number: int) -> dict[str, Any]:
    """Colour and hatch of the bars with this number; no two of the first 48 have both in common."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "hatch": HATCHES[(number % len(COLOURS) + number // len(COLOURS)) % len(HATCHES)],
        "edgecolor": PAPER,
        "linewidth": 0.4,
    }


def below(drawing: Any, axes: Any) -> None:
    """One legend for all of a drawing, below it, in as many columns as fit."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        room = drawing.get_figwidth() / (0.55 + 0.075 * max(map(len, labels)))
        drawing.legend(handles, labels, loc="outside lower center", ncols=max(1, min(int(room), len(labels))))


def logarithmic(axis: Any) -> None:
    """Ticks of a logarithmic axis at powers of ten, few enough to be read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
    axis.set_minor_formatter(NullFormatter())


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def _power(value: float) -> str:
    """`10⁻³`, without the typesetting that a text from outside must not get."""
    return f"10{str(round(math.log10(value))).translate(_RAISED)}" if value > 0 else ""


def for_page(svg: str) -> str:
    """An SVG that follows the page that shows it from light to dark; on paper it is always light."""
    start = svg.index("<svg")
    head = svg.index(">", start) + 1
    names = {colour: f"var(--c{number})" for number, colour in enumerate(DARK)}
    body = svg[head:]
    for colour, name in names.items():
        body = body.replace(colour, name)
    light = "".join(f"--c{number}:{colour};" for number, colour in enumerate(DARK))
    dark = "".join(f"--c{number}:{colour};" for number, colour in enumerate(DARK.values()))
    rule = f"<style>svg{{{light}}}@media screen and (prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    return svg[start:head] + rule + body
