"""Figures 6 and 9: what checkpoints predict: logits and probabilities by rank, entropies before and after the reset."""

from __future__ import annotations

from typing import Any

from orchestrator.document import canvas
from orchestrator.document.blocks import Figure
from orchestrator.document.material import Material, gather

#: Checkpoints side by side.
ABREAST = 4


def logits(material: Material) -> Figure:
    """Figure 6: the logits of the likeliest tokens under teacher forcing, checkpoint by checkpoint."""
    wanted = ["model", "rank", "logit_mean", "logit_q05", "logit_q95", "p_mean", "p_q05", "p_q95"]
    starts = set(material.rows.starts.values())
    compared = sorted(material.before_rl(), key=lambda each: each.checkpoint not in starts)[:ABREAST]
    found = gather(
        compared,
        lambda each: material.artifacts.columns(each.node, "ranks.parquet", wanted),
        "a checkpoint against the base",
    )

    def paint(drawing: Any) -> None:
        grid = drawing.subplots(2, len(found), squeeze=False, sharey="row", sharex=True)
        for column, (name, columns) in enumerate(found.items()):
            for axes, kind in zip(grid[:, column], ("p", "logit"), strict=True):
                for number, model in enumerate(("checkpoint", "reference")):
                    at = [n for n, each in enumerate(columns["model"]) if each == model]
                    rank, mean, low, high = (
                        [columns[key][n] for n in at] for key in ("rank", f"{kind}_mean", f"{kind}_q05", f"{kind}_q95")
                    )
                    label = "this checkpoint" if model == "checkpoint" else "base"
                    axes.plot(rank, mean, label=label, **canvas.style(number))
                    axes.fill_between(rank, low, high, alpha=0.18, color=canvas.style(number)["color"], linewidth=0)
            letter = "abcdefgh"[column]
            grid[0, column].set_title(f"({letter}) {canvas.label(name, 24)}")
            grid[1, column].set_xlabel("rank of the token")
        grid[0, 0].set_ylabel("probability")
        grid[1, 0].set_ylabel("logit above the mean")
        canvas.below(drawing, grid[0, 0])

    return canvas.draw(
        "figure06",
        "Figure 6: token logits of checkpoints",
        "The likeliest tokens at every response position of the calibration samples, under teacher forcing: mean over "
        "the positions, and a band from the 5th to the 95th percentile.",
        f"Probability and logit by rank for {', '.join(found)}",
        (2.4 * len(found) + 1.2, 4.4),
        paint,
    )


def entropies(material: Material) -> Figure:
    """Figure 9: the entropy at the attribution's targets, (a) before and (b) after the reset."""
    compared = material.attributed()
    columns = ["entropy_reference", "entropy_checkpoint"]
    found = material.artifacts.columns(compared.node, "targets.parquet", columns)
    before, after = (found[name] for name in columns)
    if len(before) != len(after):
        why = f"{compared.name}: targets.parquet has columns of two lengths"
        raise material.artifacts.spoilt(compared.node, why)
    pairs = sorted(zip(before, after, strict=True))

    def paint(drawing: Any) -> None:
        panels = drawing.subplots(1, 2, sharey=True)
        titles = (f"(a) before: {compared.reference}", f"(b) after: {compared.checkpoint}")
        for side, (axes, title) in enumerate(zip(panels, titles, strict=True)):
            values = [pair[side] for pair in pairs]
            axes.fill_between(range(1, len(values) + 1), values, step="mid", color=canvas.COLOURS[side], linewidth=0)
            mean = sum(values) / len(values)
            axes.axhline(mean, color=canvas.INK, linestyle="--", linewidth=1)
            behind = {"facecolor": canvas.PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 1.5}
            at = ("axes fraction", "data")
            axes.annotate(f"mean {mean:.3f}", (0.03, mean), xycoords=at, va="bottom", bbox=behind)
            axes.set(title=canvas.label(title, 44), xlabel="target token, by its entropy before")
        panels[0].set_ylabel("entropy (nats)")

    return canvas.draw(
        "figure09",
        "Figure 9: token entropy before and after the neuron reset",
        f"At the {len(pairs)} target tokens of the attribution, in the same order in both. After includes the fusion.",
        f"Entropy of {len(pairs)} tokens in {compared.reference} and in {compared.checkpoint}",
        (8.2, 3.1),
        paint,
    )
