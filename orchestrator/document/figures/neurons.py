"""Figures 7, 8 and 10: which modules, neurons and tokens the attribution finds, and where neurons are reset."""

from __future__ import annotations

from typing import Any

from orchestrator.document import canvas
from orchestrator.document.artifacts import Lacking, Unmade
from orchestrator.document.blocks import Figure
from orchestrator.document.material import Material

#: Modules that are named, and words of the cloud, at most.
NAMED, WORDS = 20, 120


def ranking(material: Material) -> Figure:
    """Figure 7: contributions to the targets' logits, (a) by module and (b) by neuron, from the largest down."""
    node = material.attributed().node
    modules = material.artifacts.columns(
        node, "attribution_modules.parquet", ["rank", "module", "positive", "negative"]
    )
    neurons = material.artifacts.columns(node, "attribution_neurons.parquet", ["rank", "magnitude", "module", "index"])

    def paint(drawing: Any) -> None:
        left, right = drawing.subplots(1, 2, width_ratios=[1.5, 1])
        left.bar(modules["rank"], modules["positive"], label="positive", **canvas.bar(0))
        left.bar(modules["rank"], modules["negative"], label="negative", **canvas.bar(1))
        named = [_short(name) for name in modules["module"]]
        if len(named) <= NAMED * 2:
            left.set_xticks(modules["rank"], named, rotation=90, fontsize=7)
        else:
            first = "\n".join(f"{rank}. {name}" for rank, name in enumerate(named[:8], start=1))
            left.text(0.98, 0.97, first, ha="right", va="top", transform=left.transAxes, fontsize=8)
            left.set_xlabel("module, by rank")
        left.set(title="(a) module level", ylabel="sum of scores (logits)")
        left.grid(axis="x", visible=False)
        left.legend(loc="center right")
        right.plot(neurons["rank"], neurons["magnitude"], color=canvas.COLOURS[0])
        right.fill_between(neurons["rank"], neurons["magnitude"], color=canvas.COLOURS[0], alpha=0.25, linewidth=0)
        right.set(title="(b) neuron level", xlabel="neuron, by rank", ylabel="mean score (logits)", ylim=(0, None))

    return canvas.draw(
        "figure07",
        "Figure 7: logit attribution ranking",
        "Contributions to the logit of the target token, means over the targets: (a) the sums of the positive and of "
        "the negative scores of a module's neurons, (b) the best neurons, one by one.",
        "Contributions by module and by neuron, from the largest down",
        (10, 4.2),
        paint,
    )


def words(material: Material) -> Figure:
    """Figure 8: the target tokens as a cloud, larger where they are more frequent."""
    found = material.artifacts.columns(material.attributed().node, "target_tokens.parquet", ["text", "count"])
    counts: dict[str, int] = {}
    for text, count in zip(found["text"], found["count"], strict=True):
        word = canvas.label(text.strip() or repr(text), 20)
        counts[word] = counts.get(word, 0) + count
    placed = _placed(counts)

    def paint(drawing: Any) -> None:
        axes = drawing.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, _WIDE), ylim=(_HIGH, 0))
        axes.axis("off")
        for number, (word, size, (row, column), turned) in enumerate(placed):
            axes.text(
                column,
                row,
                word,
                fontsize=size * 72 * _INCHES / _WIDE,
                rotation=90 if turned else 0,
                ha="left",
                va="top",
                color=canvas.COLOURS[number % len(canvas.COLOURS)],
            )

    return canvas.draw(
        "figure08",
        "Figure 8: selected tokens in the logit attribution",
        f"The {len(counts)} distinct target tokens; a larger one was selected more often. Colours mean nothing.",
        "A cloud of the tokens that are targets most often: "
        + ", ".join(sorted(counts, key=lambda w: -counts[w])[:12]),
        (_INCHES, _INCHES * _HIGH / _WIDE),
        paint,
    )


#: Pixels of the cloud, and its width as it is drawn.
_WIDE, _HIGH, _INCHES = 800, 360, 8.0


def _placed(counts: dict[str, int]) -> list[tuple[str, int, tuple[int, int], bool]]:
    """Words with their size, place (row, column) and whether they are turned, in pixels of the cloud."""
    from matplotlib import font_manager
    from wordcloud import WordCloud

    font = font_manager.findfont("DejaVu Sans")  # what the figure is drawn in
    made = WordCloud(
        font_path=font, width=_WIDE, height=_HIGH, max_words=WORDS, random_state=0, prefer_horizontal=0.95, margin=4
    )
    made.generate_from_frequencies(counts, max_font_size=90)
    return [(word, size, place, turned is not None) for (word, _), size, place, turned, _ in made.layout_]


def resets(material: Material) -> Figure:
    """Figure 10: the share of neurons that are reset, layer by layer and module by module."""
    name, modules = _reset(material)
    kinds = list(dict.fromkeys(module.rpartition(".")[2] for module in modules))
    layers = sorted({_layer(module) for module in modules})
    ratio = {(_layer(module), module.rpartition(".")[2]): float(each) for module, each in modules.items()}
    table = [[100 * ratio.get((layer, kind), 0.0) for layer in layers] for kind in kinds]

    def paint(drawing: Any) -> None:
        axes = drawing.subplots()
        picture = axes.imshow(table, aspect="auto", interpolation="nearest", vmin=0)
        axes.grid(visible=False)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_xticks(range(len(layers)), [str(layer) for layer in layers])
        axes.set_xlabel("layer")
        top = max(map(max, table)) or 1.0
        if len(layers) <= 12:
            for row, line in enumerate(table):
                for column, value in enumerate(line):
                    colour = canvas.PAPER if value < top / 2 else "#000000"
                    axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7.5, color=colour)
        drawing.colorbar(picture, ax=axes, label="neurons reset (%)")

    return canvas.draw(
        "figure10",
        "Figure 10: reset ratio per layer and per module",
        f"The share of the neurons of each module that {name} sets back to the base.",
        f"A map of layers and modules with the share of neurons that {name} resets",
        (max(5.5, 1.6 + 0.32 * len(layers)), 0.9 + 0.36 * len(kinds)),
        paint,
    )


def _reset(material: Material) -> tuple[str, dict[str, float]]:
    """The row that resets attributed neurons, and module -> the share of its neurons."""
    rows = [
        (name, line.repair)
        for name, lines in material.rows.lines.items()
        if (line := lines[0]).repair is not None and line.repaired("neurons") == "attributed" and line.repaired("rho")
    ]
    if not rows:
        raise Unmade("no row of the study resets neurons by attribution")
    open_ = [node for _, node in rows if node is not None and not material.artifacts.has(node)]
    for name, node in rows:
        if node is not None and material.artifacts.has(node):
            summary = material.artifacts.json(node, "summary.json")
            try:
                return name, {module: each["reset_ratio"] for module, each in summary["modules"].items()}
            except (KeyError, TypeError, AttributeError):
                why = f"{name}: its summary.json has no reset ratios of modules"
                raise material.artifacts.spoilt(node, why) from None
    raise Lacking(f"{rows[0][0]} is not rejuvenated yet", open_[:1])


def _layer(module: str) -> int:
    return next((int(part) for part in module.split(".") if part.isdigit()), -1)


def _short(module: str) -> str:
    """`3.k_proj` of `model.layers.3.self_attn.k_proj`."""
    return canvas.label(f"{_layer(module)}.{module.rpartition('.')[2]}", 16)
