"""Directions and curvature: by hand, on a model, and that the model is left as the files have it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from stages.contract import Input, StageError
from stages.diagnosis import forward, perturbation, sharpness
from stages.diagnosis.forward import Sample
from stages.modeling.checkpoint import load_model
from stages.rejuvenation import compatibility
from tests import tiny_models

SAMPLES = [Sample([5, 9, 7, 3, 8, 2], [2, 3, 4]), Sample([6, 2, 9], [0, 1])]
SETTINGS = sharpness.Settings(directions=2, scales=[0.02, 0.1], seed=3)


class Study:
    """Two checkpoints in bfloat16 or float32 files, and what surrounds one of them."""

    def __init__(self, folder: Path, family: str = "qwen2", dtype: str = "float32") -> None:
        base = tiny_models.base(folder / "base", family, dtype=dtype, shard_size="20KB")
        tiny_models.sft(folder / "sft", base, dtype=dtype)
        self.sources: dict[str, Input] = {
            "reference": tiny_models.source(base),
            "checkpoint": tiny_models.source(folder / "sft"),
        }
        self.pair = compatibility.open_pair(self.sources["reference"], self.sources["checkpoint"])
        self.values = {
            "reference": {n: v for file in base.glob("*.safetensors") for n, v in load_file(file).items()},
            "checkpoint": load_file(folder / "sft/model.safetensors"),
        }

    def matrices(self, name: str) -> dict[str, torch.Tensor]:
        return {n: v.float() for n, v in self.values[name].items() if v.dim() == 2}

    def change(self) -> dict[str, torch.Tensor]:
        theirs = self.matrices("reference")
        return {n: v - theirs[n] for n, v in self.matrices("checkpoint").items()}

    def around(self, name: str) -> perturbation.Around:
        norms = {"change": norm(self.change()), **{n: norm(self.matrices(n)) for n in self.values}}
        return perturbation.Around(self.pair, name, norms, SETTINGS.seed)

    def measure(self, name: str) -> list[dict[str, Any]]:
        model = load_model(self.sources[name], dtype="float32")
        return sharpness.measure(model, self.around(name), SAMPLES, SETTINGS, 8, lambda: None)


def norm(tensors: dict[str, torch.Tensor]) -> float:
    return math.sqrt(sum(v.double().square().sum().item() for v in tensors.values()))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"))


def test_filter_normalised_rows_have_the_norm_of_the_weights_rows() -> None:
    found = perturbation.filter_normalised(
        torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[10.0, 0.0], [0.0, 0.0]])
    )
    assert found.tolist() == [[6.0, 8.0], [0.0, 0.0]]


def test_norms_are_of_matrices_only() -> None:
    def row(shape: list[int], *norms: float) -> dict[str, Any]:
        return {"shape": shape, **dict(zip(("norm", "norm_reference", "norm_checkpoint"), norms, strict=True))}

    rows = [row([2, 2], 3.0, 1.0, 0.0), row([2], 100.0, 100.0, 100.0), row([1, 2], 4.0, 0.0, 2.0)]
    assert sharpness.matrix_norms(rows) == {"change": 5.0, "reference": 1.0, "checkpoint": 2.0}


@pytest.mark.parametrize("name", ["reference", "checkpoint"])
def test_along_the_change_the_loss_is_that_of_theta_plus_the_scaled_change(study: Study, name: str) -> None:
    rows = {row["scale"]: row for row in study.measure(name) if row["along"] == "change"}
    assert sorted(rows) == [-0.1, -0.02, 0.02, 0.1]
    change, theta = study.change(), study.matrices(name)
    model = load_model(study.sources[name], dtype="float32")
    parameters = dict(model.named_parameters())
    for scale, row in rows.items():
        with torch.no_grad():
            for tensor, value in theta.items():
                parameters[tensor].copy_(value + scale * norm(theta) / norm(change) * change[tensor])
        assert row["nll"] == pytest.approx(forward.mean_nll(model, SAMPLES, 1, lambda: None), rel=1e-5)
        assert row["applied"] == pytest.approx(abs(scale), rel=1e-5)


@pytest.mark.parametrize("family", ["qwen2", "qwen3"])
def test_random_steps_have_the_relative_size_and_move_every_row_alike(tmp_path: Path, family: str) -> None:
    study = Study(tmp_path, family)
    model = load_model(study.sources["checkpoint"], dtype="float32")
    assert perturbation.move(model, study.around("checkpoint"), 0, 0.1) == pytest.approx(0.1, rel=1e-5)
    moved = dict(model.named_parameters())
    assert moved.keys() == study.values["checkpoint"].keys()
    for name, value in study.values["checkpoint"].items():
        step = (moved[name].detach() - value).norm(dim=-1)
        expected = 0.1 * value.norm(dim=-1) if value.dim() == 2 else torch.zeros(())
        assert torch.allclose(step, expected, rtol=1e-4, atol=1e-7), name


def test_noise_is_the_same_for_every_scale_model_and_order_but_not_for_every_direction(study: Study) -> None:
    def noise(direction: int, tensor: str) -> torch.Tensor:
        return perturbation.Draw(3, direction, tensor, torch.device("cpu"))(torch.Size([4, 8]))

    first = noise(0, "a")
    assert not torch.equal(noise(1, "a"), first) and not torch.equal(noise(0, "b"), first)
    assert torch.equal(noise(0, "a"), first)
    assert study.measure("checkpoint") == study.measure("checkpoint")


@pytest.mark.parametrize("stored", ["float32", "bfloat16"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_afterwards_the_model_has_the_files_weights_to_the_bit(
    tmp_path: Path, stored: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perturbation, "STEP", 100)
    study = Study(tmp_path, "llama_tied", stored)
    model = load_model(study.sources["checkpoint"], dtype=dtype)
    rows = sharpness.measure(model, study.around("checkpoint"), SAMPLES, SETTINGS, 8, lambda: None)
    fresh = load_model(study.sources["checkpoint"], dtype=dtype)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))
    assert len({row["nll"] for row in rows}) == len(rows) == 13


def test_an_error_on_the_way_leaves_the_files_weights_too(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = load_model(study.sources["checkpoint"], dtype="float32"), []

    def failing(*arguments: Any) -> float:
        calls.append(arguments)
        if len(calls) == 3:
            raise RuntimeError("out of memory")
        return 1.0

    monkeypatch.setattr(sharpness, "mean_nll", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        sharpness.measure(model, study.around("checkpoint"), SAMPLES, SETTINGS, 8, lambda: None)
    monkeypatch.undo()
    fresh = load_model(study.sources["checkpoint"], dtype="float32")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fresh.parameters(), strict=True))


def test_a_model_that_is_not_all_in_memory_is_refused(study: Study) -> None:
    model = load_model(study.sources["checkpoint"], dtype="float32").to("meta")
    with pytest.raises(StageError, match=r"diagnose\.sharpness_samples: the model does not fit"):
        sharpness.measure(model, study.around("checkpoint"), SAMPLES, SETTINGS, 8, lambda: None)


def test_equal_checkpoints_have_no_direction_of_change(tmp_path: Path) -> None:
    source = tiny_models.source(tiny_models.base(tmp_path / "base"))
    pair = compatibility.open_pair(source, source)
    around = perturbation.Around(pair, "reference", {"change": 0.0, "reference": 1.0, "checkpoint": 1.0}, 0)
    rows = sharpness.measure(load_model(source, dtype="float32"), around, SAMPLES, SETTINGS, 8, lambda: None)
    assert {row["along"] for row in rows} == {"none", "random"}
    summary = sharpness.summarise(rows, SETTINGS)
    assert summary["curvature_change_reference"] is None and summary["curvature_random_reference"] is not None


def test_summary_of_a_parabola_is_its_second_derivative(tmp_path: Path) -> None:
    def row(along: str, direction: int | None, scale: float, nll: float | None) -> dict[str, Any]:
        return {"model": "checkpoint", "along": along, "direction": direction, "scale": scale, "nll": nll, "applied": 0}

    def loss(curvature: float, scale: float) -> float:
        return 1 + 5 * scale + curvature * scale**2 / 2

    scales = [sign * scale for scale in (0.1, 0.2) for sign in (-1, 1)]
    rows = [row("none", None, 0.0, 1.0)]
    rows += [row("random", d, s, loss(c, s)) for d, c in enumerate((4.0, 6.0)) for s in scales]
    rows += [row("change", None, s, loss(30.0, s) if s < 0.2 else None) for s in scales]
    found = sharpness.summarise(rows, sharpness.Settings(directions=2, scales=[0.2, 0.1], seed=0))
    assert found["curvature_random_checkpoint"] == pytest.approx(5.0)
    assert found["curvature_random_deviation_checkpoint"] == pytest.approx(math.sqrt(2))
    assert found["curvature_change_checkpoint"] == pytest.approx(30.0)
    increase = found["loss_increase"]["checkpoint"]
    assert increase["random"] == {"0.1": pytest.approx(0.025), "0.2": pytest.approx(0.1)}
    assert increase["change"] == {"0.1": pytest.approx(0.15), "0.2": None}
    sharpness.write(tmp_path, rows)
    assert pq.read_table(tmp_path / sharpness.SHARPNESS).to_pylist() == rows
