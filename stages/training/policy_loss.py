"""GRPO's loss as verl computes it: clipped policy gradient with a dual clip, k3 KL term, and the mean over all of it.

Sources: GRPO (arXiv 2402.03300), dual clip (arXiv 1912.09729), k3 (joschu.net/blog/kl-approx.html); verl's `core_algos`
for the bounds on logarithms, which keep an exponential from overflowing. TRL's own loss has another constant in the
advantage and no bounds; where neither matters both are equal, which a test shows.

Shapes: N completions, T tokens of the longest; masks are 1 where a token belongs to a completion.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from stages.grpo import Config

#: Added to the standard deviation of a group's rewards.
EPSILON = 1e-6
#: Bound of a difference of log-probabilities before it is exponentiated, in nats.
LARGEST_LOG_RATIO = 20.0
#: Bound of the KL estimate of a token, in nats.
LARGEST_KL = 10.0


@dataclass(frozen=True)
class TokenLoss:
    """The loss of every token, and what it is made of. All tensors are (N, T).

    Attributes:
        loss: what is averaged.
        kl: k3 estimate of KL(policy || reference) in nats; None without a reference.
        clipped: where the clip on the ratio decides.
        dual_clipped: where the bound for negative advantages decides.
    """

    loss: Tensor
    kl: Tensor | None
    clipped: Tensor
    dual_clipped: Tensor


def group_advantages(rewards: Tensor, group: int, *, std: bool) -> Tensor:
    """Rewards (N,) of groups of `group` neighbours, less their group's mean, divided by its unbiased deviation.

    `group_advantages(tensor([1., -1., 1., 1.]), 2, std=True)` is `tensor([0.7071, -0.7071, 0., 0.])`.
    """
    grouped = rewards.view(-1, group)
    advantages = grouped - grouped.mean(dim=1, keepdim=True)
    if std:
        advantages = advantages / (grouped.std(dim=1, keepdim=True) + EPSILON)
    return advantages.view(-1)


def token_loss(policy: Tensor, old: Tensor, reference: Tensor | None, advantages: Tensor, config: Config) -> TokenLoss:
    """The loss of every token, before it is averaged.

    Args:
        policy: (N, T) log-probabilities of the sampled tokens under the policy, with gradient.
        old: (N, T) the same under the policy that the rollout was sampled from.
        reference: (N, T) the same under the frozen reference; None for no KL term.
        advantages: (N,) of the completions.
    """
    advantage = advantages.unsqueeze(1)
    ratio = (policy - old).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    plain = -advantage * ratio
    clipped = -advantage * ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    loss = torch.maximum(plain, clipped)
    dual_clipped = torch.zeros_like(loss, dtype=torch.bool)
    if config.dual_clip is not None:
        bound = -advantage * config.dual_clip
        dual_clipped = (advantage < 0) & (bound < loss)
        loss = torch.where(advantage < 0, torch.minimum(loss, bound), loss)
    kl = None
    if reference is not None:
        kl = k3(policy, reference)
        loss = loss + config.beta * kl
    return TokenLoss(loss, kl, clipped > plain, dual_clipped)


def k3(policy: Tensor, reference: Tensor) -> Tensor:
    """Schulman's estimate of KL(policy || reference) from tokens of the policy: r - log r - 1 for r = reference/policy.

    Not negative, unbiased, in nats; at most `LARGEST_KL`, beyond which it has no gradient.
    """
    log_ratio = (reference - policy).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    return (log_ratio.exp() - log_ratio - 1).clamp(-LARGEST_KL, LARGEST_KL)


def average(values: Tensor, mask: Tensor, config: Config, *, tokens: Tensor | float, completions: float) -> Tensor:
    """This part's share of the mean over a mini-batch: the parts of all micro-batches and processes sum up to it.

    Args:
        values, mask: (N, T) of the completions of this part.
        tokens: of the whole mini-batch.
        completions: in the whole mini-batch.
    """
    if config.aggregation == "token-mean":
        return (values * mask).sum() / tokens
    means = (values * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    return means.sum() / completions
