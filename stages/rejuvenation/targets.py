"""Step 1 (section 3.4.1): which positions SFT sharpened most, by the change of their token entropy.

Position t predicts x_{t+1}. Shapes: B samples, T positions, C candidate positions, V vocabulary, D residual width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedModel

#: Rows of logits in memory at once.
_ROWS = 256

#: Which positions of a response are targets: the largest entropy gaps (the paper's), the lowest entropies of the SFT
#: model, whatever the base's were, or all.
Choice = Literal["entropy_gap", "sft_entropy", "all"]

#: The token y* whose logit is attributed: the response's own, or what the SFT model finds most probable there.
Token = Literal["gold", "argmax"]


@dataclass(frozen=True)
class Target:
    """A position to attribute: `y` is y*, the entropies are in nats."""

    t: int
    y: int
    h_base: float
    h_sft: float


@dataclass(frozen=True)
class Prediction:
    """What a model predicts at one position: its entropy in nats, and the most probable token."""

    entropy: float
    argmax: int


@torch.no_grad()
def predict(model: PreTrainedModel, samples: list[tuple[list[int], list[int]]]) -> list[list[Prediction]]:
    """Teacher-forced predictions at some positions of B samples, each given as token ids and positions.

    Samples are padded on the right, which a causal model ignores. Only the rows that are asked for are unembedded:
    the whole [B, T, V] need not fit.
    """
    ids_BT = torch.zeros(len(samples), max(len(ids) for ids, _ in samples), dtype=torch.long)
    for row, (ids, _) in enumerate(samples):
        ids_BT[row, : len(ids)] = torch.tensor(ids)
    hidden_BTD = model.model(input_ids=ids_BT.to(model.device), use_cache=False).last_hidden_state
    hidden_CD = torch.cat([hidden_BTD[row, positions] for row, (_, positions) in enumerate(samples)])
    found: list[Prediction] = []
    for rows in hidden_CD.split(_ROWS):
        log_p_CV = torch.log_softmax(model.lm_head(rows).float(), dim=-1)
        entropies = -(log_p_CV.exp() * log_p_CV).sum(-1)
        found += map(Prediction, entropies.tolist(), log_p_CV.argmax(-1).tolist())
    ordered = iter(found)
    return [[next(ordered) for _ in positions] for _, positions in samples]


@dataclass(frozen=True)
class Rule:
    """How the targets of a sample are chosen: `n` of them, where `choice` does not mean all."""

    choice: Choice
    token: Token
    n: int

    def choose(
        self, input_ids: list[int], positions: list[int], base: list[Prediction], sft: list[Prediction]
    ) -> list[Target]:
        """The targets among ascending `positions`, with which both predictions align; ties to the smaller t.

        All positions where there are fewer than `n`. Ordered by t.
        """
        ranked = sorted(range(len(positions)), key=lambda i: (self._weight(base[i], sft[i]), positions[i]))
        chosen = sorted(ranked if self.choice == "all" else ranked[: self.n])
        return [
            Target(
                t=positions[i],
                y=sft[i].argmax if self.token == "argmax" else input_ids[positions[i] + 1],
                h_base=base[i].entropy,
                h_sft=sft[i].entropy,
            )
            for i in chosen
        ]

    def _weight(self, base: Prediction, sft: Prediction) -> float:
        """What is small where a position is a better target."""
        return sft.entropy if self.choice == "sft_entropy" else -abs(sft.entropy - base.entropy)
