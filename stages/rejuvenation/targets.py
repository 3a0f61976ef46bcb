"""Step 1 (section 3.4.1): which positions SFT sharpened most, by the change of their token entropy.

Position t predicts x_{t+1}. Shapes: C candidate positions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

#: Rows of logits in memory at once.
_ROWS = 256


@dataclass(frozen=True)
class Target:
    """A position to attribute: `y` is x_{t+1}, the entropies are in nats."""

    t: int
    y: int
    h_base: float
    h_sft: float


@torch.no_grad()
def entropies(model: PreTrainedModel, input_ids: list[int], positions: list[int]) -> list[float]:
    """Entropy in nats of the next-token distribution at each of the C positions, by teacher forcing.

    Only the rows that are asked for are unembedded: the whole [L, V] of a long sample need not fit.
    """
    ids_BL = torch.tensor([input_ids], device=model.device)
    hidden_CD = model.model(input_ids=ids_BL, use_cache=False).last_hidden_state[0, positions]
    found: list[float] = []
    for rows in hidden_CD.split(_ROWS):
        log_p_CV = torch.log_softmax(model.lm_head(rows).float(), dim=-1)
        found += (-(log_p_CV.exp() * log_p_CV).sum(-1)).tolist()
    return found


def choose(input_ids: list[int], positions: list[int], h_base: list[float], h_sft: list[float], n: int) -> list[Target]:
    """The `n` positions with the largest |H_sft - H_base|, ties to the smaller t; all if there are fewer. Ordered by t.

    `positions` ascend; `h_base` and `h_sft` align with them.
    """
    gaps = [abs(sft - base) for sft, base in zip(h_sft, h_base, strict=True)]
    ranked = sorted(range(len(positions)), key=lambda i: (-gaps[i], positions[i]))
    chosen = sorted(ranked[:n], key=lambda i: positions[i])
    return [Target(positions[i], input_ids[positions[i] + 1], h_base[i], h_sft[i]) for i in chosen]
