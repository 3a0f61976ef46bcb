"""The stage `diagnose`: every number of its files against a direct computation, and what it refuses."""

from __future__ import annotations

import gc
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedModel

from stages import attribute, diagnose, rejuvenate
from stages.contract import Context, Resources, StageError
from stages.diagnosis import outputs
from stages.progress import Progress
from stages.rejuvenation import weights
from tests import tiny_models
from tests.stages.rejuvenation import reference

pytestmark = pytest.mark.slow

MODELS = ("reference", "checkpoint")

CONFIG = {
    "samples": 3,
    "dtype": "float32",
    "rho": 0.0,
    "top": 5,
    "shown": 4,
    "bins": 2,
    "sigma": 1.5,
    "map_cells": 5,
    "top_neurons": 50,
    "directions": 1,
    "scales": [0.05],
    "sharpness_samples": 2,
    "seed": 0,
}


def context(output: Path, *, batch: int = 2, **inputs: Path) -> Context:
    output.mkdir()
    return Context(
        inputs={kind: tiny_models.source(path) for kind, path in inputs.items()},
        work=output.parent,
        output=output,
        resources=Resources(per_device_batch=batch),
        progress=Progress(output.parent / f"{output.name}.progress.json"),
    )


def run(folder: Path, name: str, *, batch: int = 2, **options: object) -> Path:
    """Diagnose `folder/sft` against `folder/base`, and return the artifact."""
    config = diagnose.Config(**(CONFIG | options))
    paths = {"reference": folder / "base", "checkpoint": folder / "sft", "calibration": folder / "calibration.jsonl"}
    paths["attribution"] = folder / "attribution"
    inputs = {kind: paths[kind] for kind in diagnose.takes(config)}
    returned = diagnose.run(config, context(folder / name, batch=batch, **inputs))
    summary = json.loads((folder / name / "summary.json").read_text())
    assert returned == {key: value for key, value in summary.items() if not isinstance(value, dict | list)}
    return folder / name


def make(folder: Path, family: str = "llama", **options: Any) -> Path:
    """Two checkpoints and a calibration set."""
    base = tiny_models.base(folder / "base", family, **options)
    tiny_models.sft(folder / "sft", base, **{k: v for k, v in options.items() if k == "dtype"})
    tiny_models.calibration(folder / "calibration.jsonl")
    return folder


def table(artifact: Path, name: str) -> pd.DataFrame:
    return pq.read_table(artifact / f"{name}.parquet").to_pandas()


def tensors(model: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in sorted(model.glob("*.safetensors")) for name, value in load_file(file).items()}


def attributed(folder: Path, **options: object) -> Path:
    """Attribute `folder/sft` against `folder/base`, on other rows than those of the diagnosis."""
    rows = tiny_models.calibration(folder / "others.jsonl", seed=5)
    config = {"samples": 3, "targets_per_sample": 4, "keep": 1.0, "dtype": "float32"} | options
    inputs = {"base": folder / "base", "checkpoint": folder / "sft", "calibration": rows}
    attribute.run(attribute.Config(**config), context(folder / "attribution", **inputs))
    return folder


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair with an attribution, diagnosed with it."""
    folder = attributed(make(tmp_path_factory.mktemp("explained"), "qwen2"))
    run(folder, "diagnosis", rho=0.05, sharpness_samples=0)
    return folder


@pytest.fixture(scope="module", params=tiny_models.FAMILIES)
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of each family, one of them in bfloat16 files, the base in many shards, diagnosed in float32."""
    dtype = "bfloat16" if request.param == "llama_tied" else "float32"
    folder = make(tmp_path_factory.mktemp(request.param), request.param, dtype=dtype, shard_size="20KB")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "BLOCK", 1000)  # several blocks a tensor
        run(folder, "diagnosis")
    return folder


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One pair for what does not depend on the architecture."""
    return make(tmp_path_factory.mktemp("one"), "qwen3")


def test_weights_are_the_moments_of_every_tensor(study: Path) -> None:
    ours, theirs = tensors(study / "sft"), tensors(study / "base")
    rows = table(study / "diagnosis", "weights")
    assert set(rows["tensor"]) == ours.keys()
    for row in rows.to_dict("records"):
        a, b = ours[row["tensor"]].double(), theirs[row["tensor"]].double()
        change = (a.float() - b.float()).double()
        assert row["shape"].tolist() == list(a.shape) and row["elements"] == a.numel()
        assert row["norm"] == pytest.approx(change.norm().item(), rel=1e-9)
        assert row["mean"] == pytest.approx(change.mean().item(), rel=1e-9)
        assert row["mean_absolute"] == pytest.approx(change.abs().mean().item(), rel=1e-9)
        assert row["deviation"] == pytest.approx(change.std(correction=0).item(), rel=1e-9)
        assert row["largest"] == change.abs().max() == change[tuple(row["largest_at"])].abs()
        assert row["unchanged"] == int((a == b).sum())
        assert row["beyond"] == int(((change - change.mean()).abs() > 1.5 * row["deviation"]).sum())
        assert row["relative"] == pytest.approx((change.norm() / b.norm()).item(), rel=1e-9)
        for model, value in (("reference", b), ("checkpoint", a)):
            assert row[f"norm_{model}"] == pytest.approx(value.norm().item(), rel=1e-9)
            assert row[f"rms_{model}"] == pytest.approx(value.square().mean().sqrt().item(), rel=1e-9)
            assert row[f"max_{model}"] == value.abs().max()


def test_layers_and_kinds_are_those_of_the_names(study: Path) -> None:
    rows = table(study / "diagnosis", "weights").set_index("tensor")
    assert rows.loc["model.layers.1.self_attn.k_proj.weight", ["layer", "kind"]].tolist() == [1, "k_proj"]
    assert rows.loc["model.layers.0.input_layernorm.weight", "kind"] == "input_layernorm"
    assert rows.loc["model.embed_tokens.weight", "kind"] == "embed_tokens"
    assert math.isnan(rows.loc["model.embed_tokens.weight", "layer"])
    if "model.layers.0.self_attn.q_proj.bias" in rows.index:
        assert rows.loc["model.layers.0.self_attn.q_proj.bias", "kind"] == "q_proj.bias"


def test_the_histogram_counts_every_change_once(study: Path) -> None:
    ours, theirs = tensors(study / "sft"), tensors(study / "base")
    bins = table(study / "diagnosis", "changes")
    unchanged = table(study / "diagnosis", "weights").set_index("tensor")["unchanged"]
    for name, rows in bins.groupby("tensor", sort=False):
        change = ours[name].float() - theirs[name].float()
        assert rows["lower"].is_monotonic_increasing
        assert (rows[["negative", "positive"]].sum(axis=1) > 0).all()
        assert rows[["negative", "positive"]].to_numpy().sum() + unchanged[name] == change.numel()
        for row in rows.to_dict("records"):
            inside = (change.abs() >= row["lower"]) & (change.abs() < row["upper"]) & (change != 0)
            assert row["negative"] == int((inside & (change < 0)).sum())
            assert row["positive"] == int((inside & (change > 0)).sum())
    ratios = (bins["upper"] / bins["lower"]).to_numpy()
    assert ((ratios > 1) & (ratios <= 1.5 + 1e-6)).all()  # two a doubling: 1 to 1.5, 1.5 to 2


def test_maps_show_the_largest_change_where_it_is(study: Path) -> None:
    rows = table(study / "diagnosis", "weights").set_index("tensor")
    maps = table(study / "diagnosis", "maps").set_index("tensor")
    assert set(maps.index) == {name for name, shape in rows["shape"].items() if len(shape) == 2}
    for name, spikes in maps.iterrows():
        grid = spikes["largest"].reshape(spikes["rows"], spikes["columns"])
        assert grid.max() == np.float32(rows.loc[name, "largest"])
        change = (tensors(study / "sft")[name].float() - tensors(study / "base")[name].float()).abs().numpy()
        edges = [[cell * size // 5 for cell in range(6)] for size in change.shape]
        assert grid[1, 3] == change[edges[0][1] : edges[0][2], edges[1][3] : edges[1][4]].max()


def test_tokens_are_the_predictions_of_both_models(study: Path) -> None:
    rows = table(study / "diagnosis", "tokens")
    tokenizer = AutoTokenizer.from_pretrained(study / "sft")
    expected = []
    models = [reference.Model(study / name) for name in ("base", "sft")]
    for sample, text in enumerate(tiny_models.arithmetic(3)):
        prompt, completion = (tokenizer(text[k], add_special_tokens=False)["input_ids"] for k in text)
        ids = [*prompt, *completion, tokenizer.eos_token_id]
        p_2LV = torch.stack([torch.softmax(model.forward(ids).logits.detach(), -1) for model in models])
        for t in range(len(prompt) - 1, len(ids) - 1):
            p_2V, y = p_2LV[:, t], ids[t + 1]
            entropy_2 = -(p_2V * p_2V.log()).sum(-1)
            expected.append([sample, t, y, *entropy_2, *p_2V[:, y].log(), *p_2V.max(-1).values])
    names = ["sample", "t", "y", *(f"{name}_{m}" for name in ("entropy", "log_p", "confidence") for m in MODELS)]
    assert list(rows.columns) == names
    assert np.allclose(rows.to_numpy(), np.array(expected, dtype=float), atol=1e-4)
    summary = json.loads((study / "diagnosis/summary.json").read_text())
    assert summary["response_positions"] == len(rows)
    for model in MODELS:
        assert summary[f"entropy_{model}"] == pytest.approx(rows[f"entropy_{model}"].mean(), rel=1e-5)
        assert summary[f"nll_{model}"] == pytest.approx(-rows[f"log_p_{model}"].mean(), rel=1e-5)


def test_ranks_and_distributions_are_those_of_the_logits(qwen3: Path) -> None:
    artifact = run(qwen3, "ranks", shown=1000, top=7)
    tokens, ranks = table(artifact, "tokens"), table(artifact, "ranks").set_index(["model", "rank"])
    shown = table(artifact, "distributions")
    tokenizer = AutoTokenizer.from_pretrained(qwen3 / "sft")
    texts = tiny_models.arithmetic(3)
    logits = {}
    for model, name in (("reference", "base"), ("checkpoint", "sft")):
        decoder = reference.Model(qwen3 / name)
        ids = [
            [i for key in text for i in tokenizer(text[key], add_special_tokens=False)["input_ids"]] for text in texts
        ]
        by_sample = [decoder.forward(sequence).logits.detach() for sequence in ids]
        logits[model] = torch.stack([by_sample[row.sample][row.t] for row in tokens.itertuples()])
        best = logits[model].sort(-1, descending=True).values[:, :7]
        centred, p = best - logits[model].mean(-1, keepdim=True), best.exp() / logits[model].exp().sum(-1, keepdim=True)
        for rank in range(7):
            row = ranks.loc[(model, rank + 1)]
            for column, values in (("logit", centred[:, rank]), ("p", p[:, rank])):
                assert row[f"{column}_mean"] == pytest.approx(values.mean().item(), abs=1e-4)
                assert row[f"{column}_q05"] == pytest.approx(values.quantile(0.05).item(), abs=1e-4)
                assert row[f"{column}_q95"] == pytest.approx(values.quantile(0.95).item(), abs=1e-4)
    assert len(ranks) == 14
    groups = shown.groupby(["sample", "t"], sort=False)
    assert [key for key, _ in groups] == list(tokens[["sample", "t"]].itertuples(index=False, name=None))
    for position, (_, rows) in enumerate(groups):
        tops = {model: set(logits[model][position].topk(7).indices.tolist()) for model in MODELS}
        assert set(rows["token"]) == tops["reference"] | tops["checkpoint"]
        for row in rows.itertuples():
            assert row.text == tokenizer.decode([row.token]) and row.y == tokens["y"][position]
            for model in MODELS:
                values = logits[model][position]
                assert getattr(row, f"logit_{model}") == pytest.approx(values[row.token].item(), abs=1e-4)
                p = torch.softmax(values, -1)[row.token].item()
                assert getattr(row, f"p_{model}") == pytest.approx(p, abs=1e-5)
                assert (getattr(row, f"rank_{model}") <= 7) == (row.token in tops[model])


def test_shown_positions_are_spread_evenly() -> None:
    assert outputs.spread(9, 3) == [1, 4, 7]
    assert outputs.spread(3, 10) == [0, 1, 2]
    assert outputs.spread(5, 0) == [] == outputs.spread(0, 5)


def test_the_loss_is_measured_around_both_models_on_the_first_samples(study: Path) -> None:
    rows = table(study / "diagnosis", "sharpness")
    tokens = table(study / "diagnosis", "tokens")
    summary = json.loads((study / "diagnosis/summary.json").read_text())
    for model in MODELS:
        losses = rows[rows["model"] == model].set_index(["along", "scale"])["nll"]
        assert set(losses.index) == {("none", 0.0), *((a, s) for a in ("random", "change") for s in (-0.05, 0.05))}
        here = losses["none", 0.0]
        assert here == pytest.approx(-tokens[tokens["sample"] < 2][f"log_p_{model}"].mean(), rel=1e-5)
        for along in ("random", "change"):
            second = losses[along, 0.05] + losses[along, -0.05] - 2 * here
            assert summary[f"curvature_{along}_{model}"] == pytest.approx(second / 0.05**2)
            assert summary["loss_increase"][model][along] == {"0.05": pytest.approx(second / 2)}
        assert summary[f"curvature_random_deviation_{model}"] is None  # of one direction


@pytest.mark.parametrize("name", ["tokens", "ranks", "distributions", "sharpness"])
def test_the_number_of_samples_in_a_pass_changes_nothing_but_rounding(qwen3: Path, name: str) -> None:
    for batch in (1, 8):
        if not (qwen3 / f"batch{batch}").exists():
            run(qwen3, f"batch{batch}", batch=batch)
    one, many = (table(qwen3 / f"batch{batch}", name) for batch in (1, 8))
    numbers = one.select_dtypes("number").columns
    assert one.drop(columns=numbers).equals(many.drop(columns=numbers))
    assert np.allclose(one[numbers], many[numbers], atol=1e-4, equal_nan=True)


def test_bfloat16_agrees_with_float32_roughly(qwen3: Path) -> None:
    exact, rough = (table(run(qwen3, dtype, dtype=dtype), "tokens") for dtype in ("float32", "bfloat16"))
    assert not exact.equals(rough)
    assert np.allclose(exact["entropy_checkpoint"], rough["entropy_checkpoint"], atol=0.15)


def test_a_checkpoint_does_not_differ_from_itself(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "sft").rename(tmp_path / "unused")
    (tmp_path / "base").rename(tmp_path / "sft")
    (tmp_path / "base").symlink_to("sft")
    artifact = run(tmp_path, "same")
    rows, tokens = table(artifact, "weights"), table(artifact, "tokens")
    assert (rows["unchanged"] == rows["elements"]).all() and (rows["beyond"] == 0).all()
    assert len(table(artifact, "changes")) == 0
    assert tokens["entropy_reference"].equals(tokens["entropy_checkpoint"])
    assert json.loads((artifact / "summary.json").read_text())["change_relative"] == 0


def test_summary_names_the_largest_spike(tmp_path: Path) -> None:
    make(tmp_path)
    values = load_file(tmp_path / "sft/model.safetensors")
    values["model.layers.1.self_attn.v_proj.weight"][3, 5] = 40.0
    save_file(values, tmp_path / "sft/model.safetensors", metadata={"format": "pt"})
    summary = json.loads((run(tmp_path, "spike", sharpness_samples=0) / "summary.json").read_text())
    assert summary["change_largest_in"] == "model.layers.1.self_attn.v_proj.weight"
    assert summary["change_largest_at"] == [3, 5] and summary["weight_largest_checkpoint"] == 40.0
    assert summary["kinds"]["v_proj"]["change_largest"] == summary["change_largest"]
    flat = [torch.cat([v.double().flatten() for v in tensors(tmp_path / name).values()]) for name in ("base", "sft")]
    assert summary["elements"] == len(flat[0])
    assert summary["change_norm"] == pytest.approx((flat[1] - flat[0]).norm().item(), rel=1e-6)
    assert summary["change_relative"] == pytest.approx(((flat[1] - flat[0]).norm() / flat[0].norm()).item(), rel=1e-6)
    assert summary["weight_rms_reference"] == pytest.approx(flat[0].square().mean().sqrt().item(), rel=1e-6)
    assert not (tmp_path / "spike/sharpness.parquet").exists()


def test_one_model_is_in_memory_at_a_time(qwen3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, alive = outputs.measure, []

    def counting(*arguments: Any) -> outputs.Outputs:
        models = (thing for thing in gc.get_objects() if isinstance(thing, PreTrainedModel))
        alive.append(sum(hasattr(model, "lm_head") for model in models))
        return measure(*arguments)

    gc.collect()
    monkeypatch.setattr(outputs, "measure", counting)
    run(qwen3, "lean")
    assert alive == [1, 1]


def test_progress_ends_at_its_total(qwen3: Path) -> None:
    run(qwen3, "progress", directions=2, scales=[0.01, 0.1])
    progress = json.loads((qwen3 / "progress.progress.json").read_text())
    assert progress["step"] == progress["total"]


def test_entropies_at_the_attributions_targets_are_those_of_both_models(explained: Path) -> None:
    rows = table(explained / "diagnosis", "targets")
    targets = table(explained / "attribution", "targets")
    assert rows[["sample", "t", "y", "h_base", "h_sft"]].equals(targets[["sample", "t", "y", "h_base", "h_sft"]])
    ids = table(explained / "attribution", "tokens").set_index("sample")["input_ids"]
    for model, name in (("reference", "base"), ("checkpoint", "sft")):
        by_sample = {n: reference.Model(explained / name).entropy(sequence.tolist()) for n, sequence in ids.items()}
        expected = [float(by_sample[row.sample][row.t]) for row in rows.itertuples()]
        assert np.allclose(rows[f"entropy_{model}"], expected, atol=1e-5)
    summary = json.loads((explained / "diagnosis/summary.json").read_text())
    assert summary["entropy_at_targets_checkpoint"] == pytest.approx(rows["entropy_checkpoint"].mean(), rel=1e-5)
    assert summary["attribution_targets"] == len(rows) == 12


def test_resets_are_those_that_rejuvenate_makes(explained: Path) -> None:
    inputs = {"base": explained / "base", "checkpoint": explained / "sft", "attribution": explained / "attribution"}
    made = rejuvenate.run(rejuvenate.Config(alpha=0.5, rho=0.05), context(explained / "rejuvenated", **inputs))
    resets = table(explained / "rejuvenated", "reset").groupby("module").size()
    rows = table(explained / "diagnosis", "resets").set_index("module")
    assert rows["selected"][rows["selected"] > 0].to_dict() == resets.to_dict()
    summary = json.loads((explained / "diagnosis/summary.json").read_text())
    assert summary["reset_neurons"] == made["selected"] and summary["reset_ratio"] == made["reset_ratio"]


def test_contributions_add_up_where_everything_is_kept(explained: Path) -> None:
    neurons = table(explained / "attribution", "neurons")
    rows = table(explained / "diagnosis", "attribution_modules").set_index("module")
    positive = neurons.groupby("module")["score"].sum() / 12
    assert np.allclose(rows["positive"], positive[rows.index], rtol=1e-4)
    assert rows["positive"].is_monotonic_decreasing and (rows["negative"] <= 0).all() and len(rows) == 14
    best = table(explained / "diagnosis", "attribution_neurons")
    means = (neurons.groupby(["module", "index"])["score"].sum() / 12).sort_values(ascending=False)
    assert np.allclose(best["score"], means[:50], rtol=1e-5)
    assert list(best[["module", "index"]].itertuples(index=False, name=None)) == means.index[:50].tolist()
    curve = table(explained / "diagnosis", "concentration").set_index("share")
    assert curve.loc[1.0].tolist() == pytest.approx([1.0] * 4, rel=1e-4)
    scores = [group["score"].to_numpy() for _, group in neurons.groupby("target")]
    count = math.ceil(0.05 * rows["neurons"].sum())
    assert curve.loc[0.05, "held"] == pytest.approx(np.mean([s[:count].sum() / s.sum() for s in scores]), rel=1e-4)


def test_overlaps_are_those_of_the_sets_of_every_sample(explained: Path) -> None:
    neurons, targets = (table(explained / "attribution", name) for name in ("neurons", "targets"))
    count = math.ceil(0.05 * json.loads((explained / "attribution/summary.json").read_text())["neurons"])
    head = neurons.groupby("target").head(count)
    sets = {
        sample: set(rows[["module", "index"]].itertuples(index=False, name=None))
        for sample, rows in head.groupby(targets["sample"].to_numpy()[head["target"]])
    }
    rows = table(explained / "diagnosis", "overlaps")
    assert len(rows) == 3
    for row in rows.itertuples():
        a, b = sets[row.sample_a], sets[row.sample_b]
        assert (row.size_a, row.size_b, row.intersection) == (len(a), len(b), len(a & b))
        assert row.jaccard == pytest.approx(len(a & b) / len(a | b))
        assert 0 < row.jaccard_chance < 1


def test_a_rho_above_keep_is_refused(tmp_path: Path) -> None:
    attributed(make(tmp_path), keep=0.1)
    with pytest.raises(StageError, match=r"diagnose\.rho: 0\.2; allowed: at most attribute\.keep, which is 0\.1"):
        run(tmp_path, "greedy", rho=0.2)
    assert not list((tmp_path / "greedy").iterdir())


def test_an_attribution_of_another_model_is_refused(tmp_path: Path) -> None:
    attributed(make(tmp_path, intermediate_size=64))
    for name in ("base", "sft"):
        (tmp_path / name).rename(tmp_path / f"wide-{name}")
    make(tmp_path)
    with pytest.raises(StageError, match=r"attribution of \d+ neurons, but the checkpoint has \d+"):
        run(tmp_path, "foreign", rho=0.1)
    assert not list((tmp_path / "foreign").iterdir())


def test_a_damaged_attribution_is_refused(tmp_path: Path) -> None:
    attributed(make(tmp_path))
    (tmp_path / "attribution/neurons.parquet").write_bytes(b"PAR1")
    with pytest.raises(StageError, match=r"neurons\.parquet: cannot be read"):
        run(tmp_path, "damaged", rho=0.1)


@pytest.mark.parametrize(("file", "value"), [("base", torch.nan), ("sft", -torch.inf)])
def test_a_value_that_is_not_finite_is_refused_by_tensor_and_index(tmp_path: Path, file: str, value: float) -> None:
    make(tmp_path)
    values = load_file(tmp_path / file / "model.safetensors")
    values["model.layers.1.mlp.up_proj.weight"][5, 7] = value
    save_file(values, tmp_path / file / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StageError, match=rf"{file}/model\.safetensors: .*1\.mlp\.up_proj\.weight\[5, 7\] is {value}"):
        run(tmp_path, "damaged")


def test_a_change_that_overflows_is_refused_by_tensor(tmp_path: Path) -> None:
    make(tmp_path)
    for file, value in (("base", -3e38), ("sft", 3e38)):
        values = load_file(tmp_path / file / "model.safetensors")
        values["model.norm.weight"][2] = value
        save_file(values, tmp_path / file / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StageError, match=r"model\.norm\.weight: its change overflows float32"):
        run(tmp_path, "overflow")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 5}, r"diagnose\.samples: 5, but .*calibration\.jsonl has only 4 rows"),
        ({"top": 301}, r"diagnose\.top: 301; allowed: at most the vocabulary, 300"),
    ],
)
def test_what_the_calibration_set_or_the_model_cannot_give_is_refused(
    qwen3: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        run(qwen3, "greedy-" + next(iter(options)), **options)


def test_checkpoints_of_different_shapes_are_refused(tmp_path: Path) -> None:
    make(tmp_path)
    tiny_models.base(tmp_path / "wide", intermediate_size=64)
    (tmp_path / "base").rename(tmp_path / "unused")
    (tmp_path / "wide").rename(tmp_path / "base")
    with pytest.raises(StageError, match="intermediate_size"):
        run(tmp_path, "mismatch")


@pytest.mark.parametrize(
    "wrong",
    [{"samples": 0}, {"rho": 1.5}, {"bins": 3}, {"sigma": 0.0}, {"scales": [0.0]}, {"scales": []}, {"directions": -1}],
)
def test_config_refuses_what_is_out_of_range(wrong: dict[str, object]) -> None:
    diagnose.Config(**CONFIG)
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        diagnose.Config(**(CONFIG | wrong))


def test_check_says_what_types_cannot() -> None:
    assert diagnose.check(diagnose.Config(**CONFIG)) == []
    assert diagnose.check(diagnose.Config(**(CONFIG | {"sharpness_samples": 4}))) == [
        "sharpness_samples: 4; allowed: at most samples, 3"
    ]
    assert diagnose.check(diagnose.Config(**(CONFIG | {"scales": [0.1, 0.1]}))) == [
        "scales: [0.1, 0.1] has one of them twice"
    ]


def test_an_attribution_is_taken_only_where_rho_asks_for_it() -> None:
    assert diagnose.takes(diagnose.Config(**CONFIG)) == ("reference", "checkpoint", "calibration")
    assert diagnose.takes(diagnose.Config(**(CONFIG | {"rho": 0.1})))[-1] == "attribution"
