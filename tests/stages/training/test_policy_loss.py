"""Our loss is verl's, in value and gradient; and TRL's, where the bounds on logarithms do not matter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages import grpo
from stages.training import policy_loss
from tests.stages.test_grpo import config
from tests.stages.training import verl

#: The paper's, with a group of four.
PAPER = config(clip_low=0.2, clip_high=0.2, dual_clip=3.0, beta=0.001)

VARIANTS = {
    "paper": PAPER,
    "token-mean": replace(PAPER, aggregation="token-mean"),
    "no dual clip": replace(PAPER, dual_clip=None),
    "clip higher": replace(PAPER, clip_high=0.28),
    "no reference": replace(PAPER, beta=0.0),
    "much KL": replace(PAPER, beta=1.0),
}


def batch(seed: int, spread: float) -> tuple[Tensor, ...]:
    """Log-probabilities of policy, old policy and reference (6, 5), advantages (6,), mask: no completion is empty."""
    draw = torch.Generator().manual_seed(seed)
    policy = -torch.rand(6, 5, generator=draw, dtype=torch.float64) * 5
    old = policy + spread * torch.randn(6, 5, generator=draw, dtype=torch.float64)
    reference = policy + spread * torch.randn(6, 5, generator=draw, dtype=torch.float64)
    advantages = torch.randn(6, generator=draw, dtype=torch.float64)
    lengths = torch.randint(1, 6, (6, 1), generator=draw)
    return policy, old, reference, advantages, (torch.arange(5) < lengths).double()


def ours(
    chosen: grpo.Config, policy: Tensor, old: Tensor, reference: Tensor, advantages: Tensor, mask: Tensor
) -> Tensor:
    """The loss of a mini-batch, in two micro-batches of different sizes."""
    total = torch.zeros((), dtype=policy.dtype)
    for part in (slice(0, 2), slice(2, None)):
        against = reference[part] if chosen.beta else None
        found = policy_loss.token_loss(policy[part], old[part], against, advantages[part], chosen)
        total = total + policy_loss.average(
            found.loss, mask[part], chosen, tokens=mask.sum(), completions=float(len(policy))
        )
    return total


def theirs(chosen: grpo.Config, policy: Tensor, old: Tensor, reference: Tensor, *rest: Tensor) -> Tensor:
    return verl.loss(
        policy,
        old,
        reference if chosen.beta else None,
        *rest,
        low=chosen.clip_low,
        high=chosen.clip_high,
        dual=chosen.dual_clip,
        beta=chosen.beta,
        aggregation=chosen.aggregation,
    )


@pytest.mark.parametrize("name", VARIANTS)
@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), spread=st.sampled_from([0.0, 0.05, 0.3, 1.0, 5.0, 40.0]))
def test_value_and_gradient_are_verls(name: str, seed: int, spread: float) -> None:
    chosen = VARIANTS[name]
    policy, *rest = batch(seed, spread)
    values, gradients = [], []
    for loss in (ours, theirs):
        leaf = policy.clone().requires_grad_()
        value = loss(chosen, leaf, *rest)
        value.backward()
        assert leaf.grad is not None
        values.append(value.detach())
        gradients.append(leaf.grad)
    torch.testing.assert_close(values[0], values[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)


def test_a_worked_example() -> None:
    """One token each. Ratios 2 and 4 with advantages 1 and -1: 1.2 by the clip, and 3 by the dual clip."""
    policy = torch.tensor([[0.0], [0.0]], requires_grad=True)
    old = -torch.tensor([[2.0], [4.0]]).log()
    found = policy_loss.token_loss(policy, old, None, torch.tensor([1.0, -1.0]), PAPER)
    assert found.loss.squeeze(1).tolist() == pytest.approx([-1.2, 3.0])
    assert found.clipped.squeeze(1).tolist() == [True, False]
    assert found.dual_clipped.squeeze(1).tolist() == [False, True]
    found.loss.sum().backward()
    assert policy.grad is not None and policy.grad.tolist() == [[0.0], [0.0]]


def test_a_kl_beyond_its_bound_has_no_gradient() -> None:
    policy = torch.tensor([-8.0, -1.0], requires_grad=True)
    found = policy_loss.k3(policy, torch.tensor([-1.0, -1.5]))
    assert found.tolist() == pytest.approx([10.0, torch.exp(torch.tensor(-0.5)).item() - 0.5])
    found.sum().backward()
    assert policy.grad is not None and policy.grad[0] == 0 and policy.grad[1] > 0


@given(rewards=st.lists(st.sampled_from([-1.0, 1.0]), min_size=8, max_size=8), std=st.booleans())
def test_advantages_are_verls(rewards: list[float], std: bool) -> None:
    found = policy_loss.group_advantages(torch.tensor(rewards, dtype=torch.float64), 4, std=std)
    assert found.tolist() == pytest.approx(verl.advantages(rewards, 4, std=std), rel=1e-12)


def test_advantages_of_equal_rewards_are_nothing() -> None:
    assert policy_loss.group_advantages(torch.ones(4), 4, std=True).tolist() == [0.0] * 4
