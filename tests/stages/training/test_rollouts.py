"""Rollouts by vLLM: wherever the engine is, it has the policy's weights of every step, and the same completions."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stages import meeting_place
from stages.contract import Context, Resources
from stages.training import rollouts_served, whole_weights
from tests import tiny_models
from tests.stages.training import launched

HERE = "tests.stages.training.test_rollouts"
#: Where a run may be, as world and resources. The first is what the others are compared with.
PLACES: dict[str, tuple[int, dict[str, Any]]] = {
    "colocate": (1, {}),
    "server": (1, {"rollouts": "server", "replicas": 2, "cpus": 2}),
    "colocate_sharded": (2, {"sharding": "fsdp2", "checkpointing": True}),
    "server_sharded": (2, {"rollouts": "server", "sharding": "fsdp2"}),
}


def test_parameters_are_written_in_files_of_some_size_in_the_engines_dtype(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_weights, "SHARD", 100)
    given = {name: torch.full((8, 4), float(number)) for number, name in enumerate("abc")}
    whole_weights.write(iter(given.items()), tmp_path, "bfloat16")
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["model-00000.safetensors", "model-00001.safetensors"]
    found = {name: value for file in files for name, value in load_file(file).items()}
    assert found.keys() == given.keys() and found["b"].dtype == torch.bfloat16
    assert all(torch.equal(found[name].float(), given[name]) for name in given)


@pytest.mark.parametrize(
    ("visible", "gpus", "spare", "devices"),
    [("4,5,6,7", 4, 1, "7"), (None, 8, 2, "6,7"), ("", 0, 0, ""), ("GPU-a,GPU-b", 2, 1, "GPU-b")],
)
def test_a_server_has_the_last_gpus_of_its_job(
    visible: str | None, gpus: int, spare: int, devices: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    context = tiny_context(tmp_path, Resources(gpus=gpus, rollout_gpus=spare))
    assert rollouts_served._spare(context) == devices


def tiny_context(folder: Path, resources: Resources) -> Context:
    from tests.stages.training.test_grpo import context

    return replace(context(folder, {}), resources=resources)


def study(rank: int, world: int, where: str, *names: str) -> dict[str, Any]:
    """Runs at some places, one after the other: summary and weights of this rank."""
    from stages.generation import vllm_environment

    vllm_environment.prepare()
    from stages import grpo
    from tests.stages.test_grpo import config
    from tests.stages.training import test_grpo
    from tests.stages.training.test_grpo_ranks import READING, digest, watched

    folder, patch = Path(where), pytest.MonkeyPatch()
    test_grpo.graders_by_length(patch)
    trainers, _ = watched(patch)
    problems = replace(tiny_models.source(folder / "problems.jsonl"), reading=READING)
    inputs = {"checkpoint": tiny_models.source(folder / "base"), "problems": problems}
    # One held-out problem: the second rank gets none.
    chosen = config(engine="vllm", learning_rate=1e-2, validation_problems=1)
    found = {}
    for name in names:
        resources = Resources(per_device_batch=4 // world, **PLACES[name][1])
        made = replace(test_grpo.context(folder / name, inputs), rank=rank, world=world, local_rank=rank)
        trainers.clear()
        summary = grpo.run(chosen, replace(made, resources=resources))
        found[name] = {"summary": summary, "weights": digest(trainers[0].model)}
    return found


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """The folder of all runs, and what `study` found, by place and rank."""
    pytest.importorskip("vllm")
    from tests.stages.training import test_grpo

    folder = tmp_path_factory.mktemp("rollouts")
    tiny_models.base(folder / "base", hidden_size=128, intermediate_size=96)
    test_grpo.problems(folder)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, (world, _) in PLACES.items():  # an engine takes a process's only distributed environment
        found[name] = [each[name] for each in launched.run(f"{HERE}:study", world, str(folder), name)]
    return folder, found


def curve(folder: Path, name: str) -> list[dict[str, Any]]:
    from tests.stages.training.test_grpo import rows

    return rows(folder / name / "output" / "training.jsonl")


@pytest.mark.slow
@pytest.mark.parametrize("name", PLACES)
def test_the_engine_samples_from_the_weights_of_every_step(ran, name):
    folder, found = ran
    mismatches = [row["sampling_mismatch"] for row in curve(folder, name)]
    assert len(mismatches) == 8 and 0 < max(mismatches) < 1e-4
    assert max(row["gradient_norm"] for row in curve(folder, name)) > 0
    assert len({each["weights"] for each in found[name]}) == 1
    assert found[name][0]["summary"]["held_out"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PLACES if name != "colocate"])
def test_the_curve_is_the_same_wherever_the_engine_is(ran, name):
    folder, _ = ran
    for left, right in zip(curve(folder, "colocate"), curve(folder, name), strict=True):
        assert left.keys() == right.keys()
        for key in left.keys() - {"seconds", "sampling_mismatch", "sampling_mismatch_max"}:
            assert math.isclose(left[key], right[key], rel_tol=1e-3, abs_tol=1e-6), (key, left[key], right[key])


@pytest.mark.slow
def test_nothing_of_a_server_is_left(ran):
    folder, _ = ran
    assert not list(meeting_place.of(folder / "server").iterdir())
    assert not [name for name in os.listdir("/dev/shm") if name.startswith("weights-")]
