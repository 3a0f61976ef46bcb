"""GRPO in two processes: one policy, the rewards of both, and the curve of one process."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch

from stages import grpo
from stages.contract import Context, Interrupted, Resources, StageError
from stages.training import checkpoints, whole_weights
from stages.training import grpo as training
from stages.training.grpo_reward import Reward
from stages.training.grpo_trainer import PolicyTrainer
from tests import tiny_models
from tests.stages.test_grpo import config
from tests.stages.training import launched, test_grpo

pytestmark = pytest.mark.slow

HERE = "tests.stages.training.test_grpo_ranks"
#: Some completions end by themselves.
LONG = config(max_new_tokens=60)
#: Most groups have no deviation: on one rank or the other some are replaced.
DYNAMIC = config(max_new_tokens=60, dynamic_sampling=True, max_draws=3)
READING = {"fields": {"prompt": "{{ prompt }}", "answer": "{{ answer }}"}}


def _context(folder: Path, name: str, rank: int = 0, world: int = 1, **resources: Any) -> Context:
    inputs = {
        "checkpoint": tiny_models.source(folder / "base"),
        "base": tiny_models.source(folder / "base"),
        "problems": replace(tiny_models.source(folder / "problems.jsonl"), reading=READING),
    }
    made = test_grpo.context(folder / name, inputs)
    return replace(made, rank=rank, world=world, resources=Resources(per_device_batch=4 // world, **resources))


def watched(patch: pytest.MonkeyPatch) -> tuple[list[PolicyTrainer], list[list[float]]]:
    """The trainers that are made, and the rewards of this rank."""
    trainers: list[PolicyTrainer] = []
    rewards: list[list[float]] = []
    make, reward = training._trainer, Reward.__call__

    def kept(*args: Any) -> PolicyTrainer:
        trainers.append(make(*args))
        return trainers[-1]

    def noted(self: Reward, **kwargs: Any) -> list[float]:
        rewards.append(reward(self, **kwargs))
        return rewards[-1]

    patch.setattr(training, "_trainer", kept)
    patch.setattr(Reward, "__call__", noted)
    return trainers, rewards


def digest(model: torch.nn.Module) -> str:
    """Of all parameters, whole; every rank calls it."""
    found = hashlib.sha256()
    for _, tensor in sorted(whole_weights.parameters(model)):
        found.update(tensor.numpy().tobytes())
    return found.hexdigest()


def outcome(chosen: grpo.Config, context: Context) -> Any:
    """The summary, or what was raised."""
    try:
        return grpo.run(chosen, context)
    except (Interrupted, StageError) as error:
        return [type(error).__name__, str(error)]


def study(rank: int, world: int, where: str) -> dict[str, Any]:
    """Every run that two ranks make, one after the other in the same processes."""
    folder = Path(where)
    patch = pytest.MonkeyPatch()
    test_grpo.graders_by_length(patch)
    trainers, rewards = watched(patch)
    found: dict[str, Any] = {"whole": outcome(config(), _context(folder, "two", rank, world))}
    found |= {"rewards": list(rewards), "weights": digest(trainers[0].model)}

    asked = rank == 1  # the other does not hear of it
    stopping = replace(_context(folder, "cut", rank, world), stopping=lambda: asked)
    found["stopped"] = outcome(config(), stopping)
    found["resumed"] = outcome(config(), _context(folder, "cut", rank, world))
    found["lost"] = outcome(config(), _context(folder, "lost", rank, world))

    found["long"] = outcome(LONG, _context(folder, "two_long", rank, world))
    found["dynamic"] = outcome(DYNAMIC, _context(folder, "two_dynamic", rank, world))

    found["sharded"] = outcome(LONG, _context(folder, "sharded", rank, world, sharding="fsdp2"))
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The folder of all runs, and what `study` found on each rank."""
    folder = tmp_path_factory.mktemp("ranks")
    tiny_models.base(folder / "base")
    test_grpo.problems(folder)
    with pytest.MonkeyPatch.context() as patch:
        test_grpo.graders_by_length(patch)
        grpo.run(LONG, _context(folder, "one_long"))
        grpo.run(DYNAMIC, _context(folder, "one_dynamic"))
    _context(folder, "lost").saved.record(4)
    return folder, launched.run(f"{HERE}:study", 2, str(folder))


def test_the_policy_of_both_ranks_is_the_one_that_is_published(ran):
    folder, (first, second) = ran
    assert first["weights"] == second["weights"]
    assert second["whole"] == {}
    model = training.load_model(tiny_models.source(folder / "two" / "output" / "model"), dtype="float32")
    assert digest(model) == first["weights"]


def test_the_curve_is_finite_and_has_the_rewards_of_both_ranks(ran):
    folder, (first, second) = ran
    curve = test_grpo.rows(folder / "two" / "output" / "training.jsonl")
    assert [row["rollout"] for row in curve] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert all(math.isfinite(value) for row in curve for value in row.values())
    assert max(row["gradient_norm"] for row in curve) > 0
    logged = [row["reward"] for row in curve if "reward" in row]
    assert [len(part) for part in first["rewards"] + second["rewards"]] == [8] * 8
    both = [fmean(left + right) for left, right in zip(first["rewards"], second["rewards"], strict=True)]
    assert logged == pytest.approx(both)
    assert first["rewards"] != second["rewards"]


def test_all_ranks_stop_behind_the_rollout_and_go_on_bit_for_bit(ran):
    folder, (first, second) = ran
    assert first["stopped"] == second["stopped"] == ["Interrupted", "saved at step 2 of 8"]
    assert first["resumed"] == first["whole"] and second["resumed"] == {}
    assert test_grpo.equal(folder / "two", folder / "cut")


@pytest.mark.parametrize("kind", ["long", "dynamic"])
def test_two_ranks_have_the_curve_of_one(ran, kind):
    """The same completions in the same mini-batches, several to a rollout; replaced by the same ones."""
    folder, _ = ran
    for name in ("training.jsonl", "validation.jsonl"):
        one, two = (test_grpo.rows(folder / f"{run}_{kind}" / "output" / name) for run in ("one", "two"))
        for left, right in zip(one, two, strict=True):
            assert {**left, "seconds": 0} == pytest.approx({**right, "seconds": 0}, rel=1e-3, abs=1e-6)


def test_groups_are_replaced_on_either_rank(ran):
    folder, _ = ran
    curve = test_grpo.rows(folder / "two_dynamic" / "output" / "training.jsonl")
    dropped = [row["dropped_groups"] for row in curve if "dropped_groups" in row]
    assert len(dropped) == 4 and 0 < max(dropped) < 1


def test_a_sharded_policy_cannot_generate_by_itself(ran):
    _, found = ran
    message = "engine: transformers cannot generate with a sharded policy; set vllm, or no sharding"
    assert [each["sharded"] for each in found] == [["StageError", message]] * 2


def test_a_lost_checkpoint_stops_all_ranks(ran):
    folder, found = ran
    assert checkpoints.latest(folder / "lost" / "work") is None
    for each in found:
        kind, message = each["lost"]
        assert kind == "StageError"
        assert message.startswith("a checkpoint of step 4 was recorded, but none is there now")
