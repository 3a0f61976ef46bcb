"""All neurons of all modules ranked together for one target: the largest positive scores, ties by the neurons' order.

The order is that of `architecture.modules`: by layer, then q, k, v, o, gate, up, down, then by index.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def budget(fraction: float, neurons: int) -> int:
    """ceil(fraction * neurons), the product in float64. `budget(0.01, 250)` is 3."""
    return math.ceil(fraction * neurons)


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
