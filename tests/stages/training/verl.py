"""verl's GRPO formula, written a second time from its description, one token after the other: what ours is held to.

volcengine/verl b178a3c, `verl/trainer/ppo/core_algos.py`: `compute_grpo_outcome_advantage`, `compute_policy_loss` (with
`clip_ratio_c`), `kl_penalty("low_var_kl")`, `agg_loss`. Values only; gradients are taken by autograd through them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def advantages(rewards: list[float], group: int, *, std: bool = True) -> list[float]:
    """A group's rewards less their mean, over their unbiased deviation plus 1e-6."""
    found = []
    for start in range(0, len(rewards), group):
        mine = rewards[start : start + group]
        mean = sum(mine) / group
        deviation = (sum((reward - mean) ** 2 for reward in mine) / (group - 1)) ** 0.5
        found += [(reward - mean) / (deviation + 1e-6 if std else 1.0) for reward in mine]
    return found


def loss(  # noqa: PLR0913
    policy: Tensor,
    old: Tensor,
    reference: Tensor | None,
    advantage: Tensor,
    mask: Tensor,
    *,
    low: float,
    high: float,
    dual: float | None,
    beta: float,
    aggregation: str,
) -> Tensor:
    """The loss of a mini-batch: log-probabilities and mask (N, T), advantages (N,)."""
    completions = []
    for row in range(len(policy)):
        tokens = []
        for column in range(policy.shape[1]):
            if mask[row, column]:
                own = _token(policy[row, column], old[row, column], advantage[row], low=low, high=high, dual=dual)
                if reference is not None:
                    own = own + beta * _low_var_kl(policy[row, column], reference[row, column])
                tokens.append(own)
        completions.append(tokens)
    if aggregation == "token-mean":
        return torch.stack([token for tokens in completions for token in tokens]).mean()
    return torch.stack([torch.stack(tokens).mean() for tokens in completions]).mean()


def _token(policy: Tensor, old: Tensor, advantage: Tensor, *, low: float, high: float, dual: float | None) -> Tensor:
    ratio = torch.exp(torch.clamp(policy - old, -20.0, 20.0))
    first = -advantage * ratio
    second = -advantage * torch.clamp(ratio, 1 - low, 1 + high)
    clipped = torch.maximum(first, second)
    if dual is None or advantage >= 0:
        return clipped
    return torch.minimum(-advantage * dual, clipped)


def _low_var_kl(policy: Tensor, reference: Tensor) -> Tensor:
    difference = torch.clamp(reference - policy, -20.0, 20.0)
    return torch.clamp(torch.exp(difference) - difference - 1, -10.0, 10.0)
