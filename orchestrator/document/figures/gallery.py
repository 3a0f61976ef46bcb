"""Every figure of a report, in the paper's order, ours behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.document.blocks import Figure
from orchestrator.document.figures import curves, dynamics, neurons, outputs, weights
from orchestrator.document.material import Material

#: What it is called where it is missing -> what draws it.
PAPER: Mapping[str, Callable[[Material], Figure]] = {
    "Figure 2 (parameter changes)": weights.shifts,
    "Figure 3 (parameter maps)": weights.maps(weights.PLACES[0]),
    "Figure 4 (gradient norm and update magnitude)": dynamics.gradients,
    "Figure 5 (RL from different checkpoints)": curves.checkpoints,
    "Figure 6 (token logits)": outputs.logits,
    "Figure 7 (attribution ranking)": neurons.ranking,
    "Figure 8 (selected tokens)": neurons.words,
    "Figure 9 (entropy before and after the reset)": outputs.entropies,
    "Figure 10 (reset ratio)": neurons.resets,
    "Figure 11 (parameter maps)": weights.maps(weights.PLACES[1]),
    "Figure 12 (parameter maps)": weights.maps(weights.PLACES[2]),
    "Figure 13 (parameter maps)": weights.maps(weights.PLACES[3]),
}

OURS: Mapping[str, Callable[[Material], Figure]] = {
    "Sweep over α": curves.alpha,
    "Sweep over ρ": curves.rho,
    "Training dynamics of RL": dynamics.rl,
    "Validation while RL runs": dynamics.validation,
    "Training dynamics of SFT": dynamics.sft,
}
