"""The panels of a study's dashboard, by section. A workspace shows them all; a report, with a line of text each.

Metrics are called as `stages.tracking` logs them: by the stage that they are of, or `validation`; `result` of variants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import wandb_workspaces.reports.v2 as wr

#: Curves of a GRPO run -> the title of the panel.
DYNAMICS = {
    "grpo/reward": "Reward",
    "validation/pass@1": "Validation pass@1",
    "grpo/gradient_norm": "Gradient norm",
    "grpo/entropy": "Policy entropy (nats)",
    "grpo/kl": "KL to the start",
    "grpo/clip_share": "Share of clipped tokens",
    "grpo/completion_length": "Completion length (tokens)",
    "grpo/zero_deviation": "Share of groups without deviation",
    "grpo/distance_start": "Distance of the weights from the start",
    "grpo/distance_base": "Distance of the weights from the base",
}

#: Curves of SFT and pretraining.
SUPERVISED = {
    "sft/loss": "Loss",
    "sft/entropy": "Token entropy (nats)",
    "sft/accuracy": "Token accuracy",
    "sft/gradient_norm": "Gradient norm",
    "pretrain/loss": "Loss of the base",
}

ALPHA, RHO = wr.Config("rejuvenate.alpha"), wr.Config("rejuvenate.rho")

#: Columns of the result table that are averages.
AVERAGES = ("ID avg", "OOD avg", "avg")


@dataclass(frozen=True)
class Part:
    """Panels that belong together, and the runs that they show: those of these kinds (`job_type`)."""

    name: str
    text: str
    jobs: tuple[str, ...]
    panels: list[wr.interface.PanelTypes]


def parts(columns: Sequence[str]) -> list[Part]:
    """The sections, given the columns of the result table."""
    return [
        Part(
            "Results",
            "pass@1 of every variant on every benchmark, as shares. The table, with standard errors, is of the study's "
            "summary run.",
            ("study", "variant"),
            [
                wr.WeavePanelSummaryTable(table_name="results", layout=wr.Layout(w=24, h=10)),
                *(wr.BarPlot(title=column, metrics=[f"result/{column}"], max_bars_to_show=100) for column in columns),
            ],
        ),
        Part(
            "Alpha and rho",
            "How far fusion pulls a checkpoint to its base (alpha), and the share of neurons that is reset (rho), "
            "against the averages of the benchmarks.",
            ("variant",),
            _sweep([column for column in columns if column in AVERAGES]),
        ),
        Part(
            "RL dynamics",
            "Curves of the GRPO runs over optimizer steps, by variant.",
            ("grpo",),
            _lines(DYNAMICS),
        ),
        Part(
            "Supervised training",
            "Curves of pretraining and SFT over optimizer steps, by variant.",
            ("sft", "pretrain"),
            _lines(SUPERVISED),
        ),
        Part(
            "Generations",
            "The first answers of each evaluation, with what was read in them.",
            ("evaluate",),
            [wr.WeavePanelSummaryTable(table_name="generations", layout=wr.Layout(w=24, h=12))],
        ),
    ]


def _lines(titles: dict[str, str]) -> list[wr.interface.PanelTypes]:
    return [
        wr.LinePlot(title=title, x="Step", y=[name], groupby=wr.Config("label"), max_runs_to_show=100)
        for name, title in titles.items()
    ]


def _sweep(averages: Sequence[str]) -> list[wr.interface.PanelTypes]:
    """One average against alpha and against rho, and all of it together."""
    plots: list[wr.interface.PanelTypes] = [
        wr.ScatterPlot(title=f"{column} by {key}", x=axis, y=wr.SummaryMetric(f"result/{column}"))
        for column in averages
        for key, axis in (("alpha", ALPHA), ("rho", RHO))
    ]
    lines = [
        wr.ParallelCoordinatesPlotColumn(metric=ALPHA, display_name="alpha"),
        wr.ParallelCoordinatesPlotColumn(metric=RHO, display_name="rho"),
        *(
            wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(f"result/{column}"), display_name=column)
            for column in averages
        ),
    ]
    together = wr.ParallelCoordinatesPlot(title="alpha, rho and the averages", columns=lines)
    together.layout = wr.Layout(w=24, h=10)
    return [together, *plots]
