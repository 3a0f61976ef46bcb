"""The trainer on a tiny model: its loss, its mini-batches, and what becomes of updates and rewards that go wrong."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOTrainer

from stages import grpo
from stages.contract import Context, Input, StageError
from stages.grading.pool import Graders
from stages.training import grpo as training
from stages.training import grpo_problems, grpo_settings, rollouts
from stages.training.grpo_trainer import PolicyTrainer, trimmed
from stages.training.watchdog import Watchdog
from tests import tiny_models
from tests.stages.test_grpo import config
from tests.stages.training import test_grpo, verl
from tests.stages.training.test_grpo import graders_by_length, rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Input]:
    folder = tmp_path_factory.mktemp("inputs")
    base = tiny_models.base(folder / "base")
    return {"checkpoint": tiny_models.source(base), "problems": test_grpo.problems(folder)}


@pytest.fixture(autouse=True)
def lenient_graders(monkeypatch: pytest.MonkeyPatch) -> None:
    graders_by_length(monkeypatch)


@pytest.fixture
def trainer(tmp_path: Path, inputs: dict[str, Input]) -> Iterator[PolicyTrainer]:
    """A trainer that has not begun."""
    chosen, context = config(), test_grpo.context(tmp_path, inputs)
    with Graders(1) as graders:
        yield made(chosen, context, graders)


def made(chosen: grpo.Config, context: Context, graders: Graders) -> PolicyTrainer:
    tokenizer = training.load_tokenizer(context.inputs["checkpoint"])
    policy = training._policy(chosen, context, None)
    parts = training.Parts(
        chosen,
        context,
        grpo_settings.arguments(chosen, context),
        tokenizer,
        grpo_problems.load(context.inputs["problems"], tokenizer, chosen),
        graders,
        Watchdog(context),
    )
    generator = rollouts.make(policy, chosen, tokenizer, context, lambda doing: None)
    found = training._trainer(parts, policy, generator)
    found.current_gradient_accumulation_steps = 1
    return found


def micro_batch(seed: int = 0) -> dict[str, Any]:
    """A whole mini-batch: two problems with four completions each, of 1 to 6 tokens; and what is known of them."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([6, 1, 3, 4, 2, 6, 5, 3])
    mask = (torch.arange(6) < lengths[:, None]).long()
    prompts = torch.tensor([3, 5, 4, 2, 5, 5, 1, 4])
    return {
        "prompt_ids": torch.randint(2, 200, (8, 5), generator=draw),
        "prompt_mask": (torch.arange(5) >= 5 - prompts[:, None]).long(),
        "completion_ids": torch.randint(2, 200, (8, 6), generator=draw) * mask,
        "completion_mask": mask,
        "advantages": torch.randn(8, generator=draw),
        "old_per_token_logps": (-5 - torch.rand(8, 6, generator=draw)) * mask,
        "ref_per_token_logps": (-5 - torch.rand(8, 6, generator=draw)) * mask,
        "tokens": torch.full((8,), float(mask.sum())),
    }


def gradients(model: torch.nn.Module, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def log_probabilities(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """Of the completions' tokens, row by row and without any padding."""
    found = torch.zeros(batch["completion_mask"].shape)
    for row in range(len(found)):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        completion = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        logits = model(torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1]
        found[row, : len(completion)] = logits.log_softmax(-1).gather(1, completion[:, None])[:, 0]
    return found


def test_the_loss_of_a_mini_batch_is_verls_in_value_and_gradient(trainer: PolicyTrainer) -> None:
    batch = micro_batch()
    chosen = trainer.config
    expected = verl.loss(
        log_probabilities(trainer.model, batch),
        batch["old_per_token_logps"],
        batch["ref_per_token_logps"],
        batch["advantages"],
        batch["completion_mask"],
        low=chosen.clip_low,
        high=chosen.clip_high,
        dual=chosen.dual_clip,
        beta=chosen.beta,
        aggregation=chosen.aggregation,
    )
    theirs = gradients(trainer.model, expected)
    halves = [{name: value[part] for name, value in batch.items()} for part in (slice(0, 4), slice(4, 8))]
    loss = sum(trainer._compute_loss(trainer.model, trimmed(half)) for half in halves)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    ours = gradients(trainer.model, loss)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], rtol=1e-4, atol=1e-6)


def test_where_the_bounds_do_not_matter_it_is_trls_too(trainer: PolicyTrainer) -> None:
    batch = micro_batch()
    near = log_probabilities(trainer.model, batch).detach()
    batch |= {"old_per_token_logps": near + 0.3 * near.sin(), "ref_per_token_logps": near + 0.3 * near.cos()}
    trainer.model.train()
    theirs = GRPOTrainer._compute_loss(trainer, trainer.model, batch)
    ours = trainer._compute_loss(trainer.model, batch)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)
    left, right = gradients(trainer.model, ours), gradients(trainer.model, theirs)
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-5, atol=1e-8)


def test_a_temperature_divides_the_logits_that_are_trained_on(tmp_path: Path, inputs: dict[str, Input]) -> None:
    batch = micro_batch()
    with Graders(1) as graders:
        trainer = made(config(temperature=2.0), test_grpo.context(tmp_path, inputs), graders)
        found, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
            torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
            logits_to_keep=6,
        )
    row = batch["prompt_ids"][1]  # without padding, as its completion of one token
    logits = trainer.model(row[None]).logits[0, -1] / 2.0
    expected = logits.log_softmax(-1)[batch["completion_ids"][1, 0]]
    assert found[1, 0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_mini_batch_is_whole_groups_in_order(tmp_path: Path, inputs: dict[str, Input], monkeypatch: Any) -> None:
    seen: list[torch.Tensor] = []
    compute = PolicyTrainer._compute_loss

    def noted(self: PolicyTrainer, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        seen.append(batch["prompt_ids"].clone())
        return compute(self, model, batch)

    monkeypatch.setattr(PolicyTrainer, "_compute_loss", noted)
    grpo.run(config(rollouts=1, validate_every=0), test_grpo.context(tmp_path, inputs))
    assert len(seen) == 4  # two steps of two problems, in micro-batches of one group of four
    assert all(len(batch.unique(dim=0)) == 1 for batch in seen)
    assert len({str(batch[0].tolist()) for batch in seen}) == 4


def broken(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """The loss of these optimizer steps is not a number."""
    compute = PolicyTrainer._compute_loss

    def loss(self: PolicyTrainer, model: Any, batch: dict[str, Any]) -> torch.Tensor:
        found = compute(self, model, batch)
        return found * float("nan") if self.state.global_step + 1 in steps else found

    monkeypatch.setattr(PolicyTrainer, "_compute_loss", loss)


def test_an_update_that_is_not_finite_is_skipped_and_said(
    tmp_path: Path, inputs: dict[str, Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, 3)
    summary = grpo.run(config(), test_grpo.context(tmp_path, inputs))
    curve = rows(tmp_path / "output" / "training.jsonl")
    assert [row["skipped"] for row in curve] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert "gradient_norm" not in curve[2] and all("gradient_norm" in row for row in curve if row["step"] != 3)
    assert summary["skipped"] == 1
    weights = test_grpo.weights(tmp_path)
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())
    # It is skipped as a whole: the weights are where the step before had left them.
    assert curve[2]["distance_start"] == curve[1]["distance_start"] != curve[3]["distance_start"]


def test_updates_that_are_never_finite_stop_the_run(
    tmp_path: Path, inputs: dict[str, Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(monkeypatch, 3, 4, 5, 6)
    with pytest.raises(StageError, match="step 5: the gradient was not finite 3 times in a row"):
        grpo.run(config(), test_grpo.context(tmp_path, inputs))


def test_a_reward_that_raises_is_one_message(
    tmp_path: Path, inputs: dict[str, Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    def grade(self: Graders, kind: str, answers: Any) -> Any:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Graders, "grade", grade)
    with pytest.raises(StageError, match="the reward failed on 16 completions: ZeroDivisionError: by zero"):
        grpo.run(config(validate_every=0), test_grpo.context(tmp_path, inputs))


def test_the_watchdog_hears_of_all_that_is_done(
    tmp_path: Path, inputs: dict[str, Input], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(Watchdog, "beat", lambda self, doing: heard.append(doing))
    grpo.run(config(), test_grpo.context(tmp_path, inputs))
    phases = [doing for doing, _ in itertools.groupby(heard)]
    assert phases[:6] == ["starting", "validation", "rollout", "grading", "training", "rollout"]
    assert set(phases) == {"starting", "validation", "rollout", "grading", "training"}


def test_the_distance_from_the_start_is_that_of_the_weights(tmp_path: Path, inputs: dict[str, Input]) -> None:
    """The tiny model's matrices have more rows than are sampled: it is an estimate."""
    grpo.run(config(distances=["start", "base"]), test_grpo.context(tmp_path, {**inputs, "base": inputs["checkpoint"]}))
    before = {
        name: tensor
        for name, tensor in test_grpo.load_file(Path(inputs["checkpoint"].model) / "model.safetensors").items()
        if tensor.ndim == 2
    }
    after = test_grpo.weights(tmp_path)
    moved = sum((after[name] - tensor).square().sum() for name, tensor in before.items())
    exact = (moved / sum(tensor.square().sum() for tensor in before.values())).sqrt().item()
    last = rows(tmp_path / "output" / "training.jsonl")[-1]
    assert last["distance_start"] == last["distance_base"] == pytest.approx(exact, rel=0.2)
    summary = json.loads(json.dumps(last))
    assert summary["distance_start"] > 0


def test_an_entropy_bonus_has_the_gradient_of_the_entropy(tmp_path: Path, inputs: dict[str, Input]) -> None:
    batch = micro_batch()
    with Graders(1) as graders:
        trainer = made(config(entropy_coefficient=0.5), test_grpo.context(tmp_path, inputs), graders)
    without = gradients(trainer.model, _loss(trainer, batch, bonus=0.0))
    ours = gradients(trainer.model, _loss(trainer, batch, bonus=0.5))
    mask = batch["completion_mask"]
    rows = []
    for row in range(len(mask)):
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        completion = batch["completion_ids"][row][mask[row].bool()]
        logits = trainer.model(torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1]
        rows.append(torch.distributions.Categorical(logits=logits).entropy().mean())
    theirs = gradients(trainer.model, -0.5 * torch.stack(rows).mean())
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient - without[name], theirs[name], rtol=1e-3, atol=1e-6)


def _loss(trainer: PolicyTrainer, batch: dict[str, Any], *, bonus: float) -> torch.Tensor:
    trainer.config = replace(trainer.config, entropy_coefficient=bonus)
    return trainer._compute_loss(trainer.model, batch)
