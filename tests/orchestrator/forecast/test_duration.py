"""How long a node takes: by the speed of the GPUs, and by what was recorded before."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from launch.job import Allocation
from orchestrator.forecast import work
from orchestrator.forecast.duration import Duration, Durations
from orchestrator.forecast.memory import Setting
from orchestrator.forecast.placement import Placement
from stages import artifact
from stages.contract import Resources
from stages.identity import fingerprint, identity
from stages.store import Store
from tests.orchestrator.forecast import paper
from tests.orchestrator.forecast.paper import EVOLM, P
from tests.orchestrator.forecast.test_shape import of

H100 = 989e12


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return paper.recipe()


def lasting(recipe: dict[str, Any], stage: str, store: Path, done: int = 0, **needs: Any) -> Duration | None:
    allocation = Allocation(**{"gpus": 8, **needs})
    place = Placement(machines=1, ranks=max(1, allocation.gpus), gpus=allocation.gpus)
    setting = Setting(config=recipe[stage], shape=of(EVOLM), needs=allocation, place=place)
    return Durations(Store(store)).of(stage, setting, allocation, work.of(stage, setting, done=done))


def record(recipe: dict[str, Any], store: Path, *, seconds: float, epochs: int, **more: Any) -> None:
    """Publish an SFT of EvoLM-4B on eight GPUs that took so long."""
    fields = {**recipe["sft"], "epochs": epochs, "seed": int(seconds)}
    plain = identity("sft", 1, fields, {})
    draft = store / "sft" / ".draft"
    (draft / "model").mkdir(parents=True)
    (draft / "model" / "config.json").write_text(json.dumps(EVOLM))
    said = {
        "fingerprint": fingerprint(plain),
        "identity": plain,
        "label": "V",
        "config": fields,
        "inputs": {},
        "summary": {"rows": 100_000},
        "attempts": 1,
        "seconds": seconds,
        "resources": asdict(Resources(gpus=8)),
        "continued_from": None,
        **more,
    }
    artifact.publish(draft, store / "sft" / f"V-{fingerprint(plain)[:10]}", said)


def test_by_the_speed_of_the_gpus(recipe: dict[str, Any], tmp_path: Path) -> None:
    found = lasting(recipe, "sft", tmp_path, gpu_tflops=989)
    seconds = 8 * P * 2 * 390 * 256 * 2048 / (8 * H100 * 0.4)
    assert found == Duration(
        seconds=pytest.approx(seconds), gpu_hours=pytest.approx(8 * seconds / 3600), most=True, by="40% of 989 TFLOP/s"
    )
    assert 4134 < found.seconds < 4136  # 1.15 hours


def test_generation_is_slower(recipe: dict[str, Any], tmp_path: Path) -> None:
    chosen: dict[str, Any] = {**recipe, "evaluate": {**recipe["evaluate"], "problems": None, "k": 4}}
    assert lasting(chosen, "evaluate", tmp_path, gpu_tflops=989, gpus=1) is None  # nobody has counted its problems
    chosen["evaluate"]["problems"] = 500
    found = lasting(chosen, "evaluate", tmp_path, gpu_tflops=989, gpus=1)
    assert found is not None and found.by == "40% of 989 TFLOP/s, 15% to generate"
    expected = 2 * P * 500 * 1024 / (H100 * 0.4) + 2 * P * 500 * 4 * 1024 / (H100 * 0.15)
    assert found.seconds == pytest.approx(expected)


def test_layers_on_several_gpus_work_one_after_the_other(recipe: dict[str, Any], tmp_path: Path) -> None:
    one, eight = (lasting(recipe, "attribute", tmp_path, gpu_tflops=989, gpus=gpus) for gpus in (1, 8))
    assert one is not None and eight is not None
    assert (eight.seconds, eight.gpu_hours) == (one.seconds, pytest.approx(8 * one.gpu_hours))


def test_nothing_says_so(recipe: dict[str, Any], tmp_path: Path) -> None:
    assert lasting(recipe, "sft", tmp_path) is None
    assert lasting(recipe, "sft", tmp_path, gpus=0, gpu_tflops=989) is None


def test_records_are_scaled_by_their_work(recipe: dict[str, Any], tmp_path: Path) -> None:
    record(recipe, tmp_path, seconds=1000, epochs=1)
    found = lasting(recipe, "sft", tmp_path, gpu_tflops=989)  # two epochs
    assert found == Duration(
        seconds=pytest.approx(2000), gpu_hours=pytest.approx(8 * 2000 / 3600), most=True, by="1 record"
    )
    record(recipe, tmp_path, seconds=1200, epochs=2, continued_from={"value": 1, "artifact": "V-0"})  # one epoch again
    found = lasting(recipe, "sft", tmp_path, done=1)
    assert found is not None and (found.seconds, found.by) == (pytest.approx(1090.9, abs=0.1), "2 records")


@pytest.mark.parametrize(
    "other",
    [
        {"resources": asdict(Resources(gpus=4))},
        {"attempts": 2},
        {"seconds": 0.0},
        {"resources": {"gpus": 8, "of_another_version": 1}},
        {"config": {"epochs": 1}},
    ],
)
def test_records_that_do_not_compare(recipe: dict[str, Any], tmp_path: Path, other: dict[str, Any]) -> None:
    record(
        recipe, tmp_path, seconds=other.get("seconds", 1000), epochs=1, **{k: other[k] for k in other if k != "seconds"}
    )
    assert lasting(recipe, "sft", tmp_path) is None


def test_without_gpus_a_record_counts_on_as_many_cores(recipe: dict[str, Any], tmp_path: Path) -> None:
    record(recipe, tmp_path, seconds=1000, epochs=1, resources=asdict(Resources(cpus=2)))
    assert lasting(recipe, "sft", tmp_path, gpus=0, cpus=4) is None
    found = lasting(recipe, "sft", tmp_path, gpus=0, cpus=2)
    assert found is not None and (found.seconds, found.gpu_hours) == (pytest.approx(2000), 0)
