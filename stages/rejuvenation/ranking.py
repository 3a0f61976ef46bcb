"""Which neurons of one target count: the largest scores, by sign or by magnitude, over the model or in each module.

Neurons are counted in the order of `architecture.modules`: by layer, then q, k, v, o, gate, up, down, then by index.
Equal scores go by that order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from stages.rejuvenation.architecture import Module

#: Over which neurons a share is taken: all of the model (the paper's), or those of each module by itself.
Scope = Literal["model", "module"]

#: Which scores count: those that push the target's logit up (the paper's), or also those that push it down.
Sign = Literal["positive", "absolute"]

#: Two scores closer than this share of the target's largest may change places with the batch, the packing or the
#: device: what float32, or bfloat16, does to sums of another order. A cut between such scores is a near-tie.
TIE_BAND = {"float32": 1e-4, "bfloat16": 2e-2}


def budget(fraction: float, neurons: int) -> int:
    """ceil(fraction * neurons), the product in float64. `budget(0.01, 250)` is 3."""
    return math.ceil(fraction * neurons)


@dataclass(frozen=True)
class Ranking:
    """How the neurons of `modules` are ranked for one target."""

    modules: list[Module]
    scope: Scope
    sign: Sign

    @property
    def groups(self) -> list[int]:
        """Numbers of neurons that are ranked together, in the neurons' order."""
        sizes = [module.neurons for module in self.modules]
        return sizes if self.scope == "module" else [sum(sizes)]

    def best(self, scores_M: Tensor, fraction: float) -> Tensor:
        """Flat indices of the `fraction` that counts most in each group, all groups together, best first.

        >>> ranking = Ranking([Module("a", 0, "q_proj", 3), Module("b", 0, "k_proj", 2)], "model", "positive")
        >>> ranking.best(torch.tensor([1.0, 3.0, -4.0, 1.0, 0.0]), 0.4)
        tensor([1, 0])
        """
        weight_M = scores_M.abs() if self.sign == "absolute" else scores_M
        start, kept = 0, []
        for size in self.groups:
            kept.append(start + top_positive(weight_M[start : start + size], budget(fraction, size)))
            start += size
        found = kept[0] if len(kept) == 1 else torch.cat(kept).sort().values
        return found[torch.sort(weight_M[found], descending=True, stable=True).indices]


def top_positive(scores_M: Tensor, count: int) -> Tensor:
    """Flat indices of the `count` largest scores that are positive, largest first, equal scores by ascending index.

    topk alone would break ties as it likes; here it gives only the value of the cut.

    >>> top_positive(torch.tensor([1.0, 3.0, -1.0, 1.0, 0.0]), 2)
    tensor([1, 0])
    """
    if count == 0:
        return torch.empty(0, dtype=torch.long, device=scores_M.device)
    cut = torch.topk(scores_M, count, sorted=False).values.min()
    reached = ((scores_M >= cut) & (scores_M > 0)).nonzero()[:, 0]
    order = torch.sort(scores_M[reached], descending=True, stable=True).indices
    return reached[order][:count]
