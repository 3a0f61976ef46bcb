"""The stage `attribute` against the float64 reference, on every architecture, and what it refuses."""

from __future__ import annotations

import dataclasses
import gc
import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from transformers import AutoTokenizer, PreTrainedModel

from stages import attribute
from stages.contract import Context, Resources, StageError
from stages.progress import Progress
from stages.rejuvenation import architecture, scoring, selection
from stages.rejuvenation.architecture import Module
from stages.rejuvenation.attribution import Attribution
from stages.rejuvenation.ranking import TIE_BAND
from stages.rejuvenation.targets import Prediction
from stages.rejuvenation.weights import Weights
from tests import tiny_models
from tests.stages.rejuvenation import reference

pytestmark = pytest.mark.slow

#: Share of the largest magnitude within which float32 may order two numbers differently.
BAND = 1e-4


def context(output: Path, base: Path, sft: Path, calibration: Path, *, batch: int = 16) -> Context:
    output.mkdir()
    paths = {"base": base, "checkpoint": sft, "calibration": calibration}
    return Context(
        inputs={kind: tiny_models.source(path) for kind, path in paths.items()},
        work=output.parent,
        output=output,
        resources=Resources(per_device_batch=batch),
        progress=Progress(output.parent / "progress.json"),
    )


def run(folder: Path, *, name: str = "attribution", batch: int = 16, **options: object) -> Path:
    """Attribute `folder/sft` against `folder/base`, and return the artifact."""
    config = attribute.Config(**{"samples": 3, "targets_per_sample": 3, "keep": 1.0, "dtype": "float32"} | options)
    attribute.run(
        config, context(folder / name, folder / "base", folder / "sft", folder / "calibration.jsonl", batch=batch)
    )
    return folder / name


def make(folder: Path, family: str = "llama", **options: object) -> Path:
    """A base, an SFT checkpoint and a calibration set in one folder."""
    base = tiny_models.base(folder / "base", family, **options)
    tiny_models.sft(folder / "sft", base, **{k: v for k, v in options.items() if k in ("dtype", "shard_size")})
    tiny_models.calibration(folder / "calibration.jsonl")
    return folder


@pytest.fixture(scope="module", params=tiny_models.FAMILIES)
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of each family in many shards, one of them in bfloat16 files, attributed in float32."""
    dtype = "bfloat16" if request.param == "llama_tied" else "float32"
    folder = make(tmp_path_factory.mktemp(request.param), request.param, dtype=dtype, shard_size="20KB")
    run(folder)
    return folder


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One study for what does not depend on the architecture."""
    folder = make(tmp_path_factory.mktemp("one"), "qwen3")
    run(folder)
    return folder


def test_tokens_are_prompt_completion_and_one_eos(qwen3: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(qwen3 / "sft")
    rows = pq.read_table(qwen3 / "attribution/tokens.parquet").to_pylist()
    assert [row["sample"] for row in rows] == [0, 1, 2]
    for row, text in zip(rows, tiny_models.arithmetic(3), strict=True):
        prompt = tokenizer(text["prompt"], add_special_tokens=False)["input_ids"]
        completion = tokenizer(text["completion"], add_special_tokens=False)["input_ids"]
        assert row["input_ids"] == [*prompt, *completion, tokenizer.eos_token_id]
        assert row["response_mask"] == [0] * len(prompt) + [1] * (len(completion) + 1)


def test_targets_have_the_largest_entropy_gaps(study: Path) -> None:
    targets = pq.read_table(study / "attribution/targets.parquet").to_pylist()
    base, sft = reference.Model(study / "base"), reference.Model(study / "sft")
    for row in pq.read_table(study / "attribution/tokens.parquet").to_pylist():
        ids, mask = row["input_ids"], row["response_mask"]
        h_base, h_sft = base.entropy(ids), sft.entropy(ids)
        gap = {t: abs(float(h_sft[t] - h_base[t])) for t in range(len(ids) - 1) if mask[t + 1]}
        chosen = [target for target in targets if target["sample"] == row["sample"]]
        positions = [target["t"] for target in chosen]
        assert positions == sorted(set(positions)) and len(positions) == 3
        cut = sorted(gap.values())[-3]
        band = BAND * max(gap.values())
        assert all(gap[t] >= cut - band for t in positions)
        assert all(t in positions for t in gap if gap[t] > cut + band)
        for target in chosen:
            assert target["y"] == ids[target["t"] + 1]
            assert target["h_base"] == pytest.approx(float(h_base[target["t"]]), abs=1e-5)
            assert target["h_sft"] == pytest.approx(float(h_sft[target["t"]]), abs=1e-5)


def test_scores_and_reconstruction_equal_the_reference(study: Path) -> None:
    model = reference.Model(study / "sft")
    ids = {row["sample"]: row["input_ids"] for row in pq.read_table(study / "attribution/tokens.parquet").to_pylist()}
    neurons = pq.read_table(study / "attribution/neurons.parquet").to_pylist()
    for number, target in enumerate(pq.read_table(study / "attribution/targets.parquet").to_pylist()):
        expected = reference.scores(model, ids[target["sample"]], target["t"])
        largest = max(float(values.abs().max()) for values in expected.by_module.values())
        found = {(row["module"], row["index"]): row["score"] for row in neurons if row["target"] == number}
        assert list(found.values()) == sorted(found.values(), reverse=True)
        for module, values in expected.by_module.items():
            for index, value in enumerate(values.tolist()):
                if value > BAND * largest or (module, index) in found:
                    assert found[module, index] == pytest.approx(value, abs=BAND * largest), (module, index)
        assert target["z"] == pytest.approx(expected.z, rel=1e-4)
        assert target["z_reconstructed"] == pytest.approx(expected.z_reconstructed, rel=1e-4)
        assert expected.z_reconstructed == pytest.approx(expected.z, rel=1e-9)


def test_summary_counts_every_neuron_and_says_how_entropy_changed(study: Path) -> None:
    summary = json.loads((study / "attribution/summary.json").read_text())
    weights = reference.Model(study / "sft").weights
    readers = sum(len(w) for n, w in weights.items() if n.endswith(tuple(f"{k}.weight" for k in reference.READERS)))
    writers = sum(w.shape[1] for n, w in weights.items() if n.endswith(tuple(f"{k}.weight" for k in reference.WRITERS)))
    assert summary["neurons"] == readers + writers
    assert summary["keep"] == 1.0 and summary["targets"] == 9
    assert summary["reconstruction_error_max"] < 1e-3
    assert 0 < summary["entropy_sft"] < math.log(400) and 0 < summary["entropy_base"] < math.log(400)


def test_keep_cuts_every_target_at_the_same_number(qwen3: Path) -> None:
    whole = pq.read_table(qwen3 / "attribution/neurons.parquet").to_pandas()
    short = pq.read_table(run(qwen3, name="short", keep=0.05) / "neurons.parquet").to_pandas()
    neurons = json.loads((qwen3 / "short/summary.json").read_text())["neurons"]
    head = whole.groupby("target").head(math.ceil(0.05 * neurons)).reset_index(drop=True)
    assert head.equals(short)


def modules_of(folder: Path) -> list[Module]:
    weights = Weights(folder, tied=False)
    return architecture.modules(weights.shapes, 2)


def selected(study: Path, name: str, rho: float) -> dict[int, set[tuple[str, int]]]:
    """What each target of an attribution selects."""
    found = selection.read_selected(study / name, modules_of(study / "sft"), rho)
    return {s.target: {(s.names[n], int(i)) for n, i in zip(s.number, s.index, strict=True)} for s in found}


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_batch_and_packing_change_no_score_beyond_the_tie_band(qwen3: Path, batch: int) -> None:
    other = pq.read_table(run(qwen3, name=f"batch{batch}", batch=batch) / "neurons.parquet").to_pandas()
    usual = pq.read_table(qwen3 / "attribution/neurons.parquet").to_pandas()
    both = other.merge(usual, on=["target", "module", "index"], how="outer").fillna(0.0)
    largest = both.groupby("target")["score_y"].transform("max")
    assert ((both["score_x"] - both["score_y"]).abs() <= TIE_BAND["float32"] * largest).all()
    one, two = selected(qwen3, f"batch{batch}", 0.02), selected(qwen3, "attribution", 0.02)
    ties = {
        s.target: s.near_ties for s in selection.read_selected(qwen3 / "attribution", modules_of(qwen3 / "sft"), 0.02)
    }
    assert all(len(one[target] ^ two[target]) <= 2 * ties[target] for target in two), "only near-ties may change"


def test_permuting_the_samples_permutes_the_targets_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, "qwen3")
    run(tmp_path)
    file = tmp_path / "calibration.jsonl"
    lines = file.read_text().splitlines()[:3]
    file.write_text("\n".join(reversed(lines)) + "\n")
    run(tmp_path, name="reversed")
    one, two = selected(tmp_path, "attribution", 0.02), selected(tmp_path, "reversed", 0.02)
    of_sample = [range(3 * sample, 3 * sample + 3) for sample in range(3)]
    for straight, turned in zip(of_sample, reversed(of_sample), strict=True):
        for first, second in zip(straight, turned, strict=True):
            assert one[first] == two[second]
    assert set().union(*one.values()) == set().union(*two.values())


def test_modules_hold_the_sums_of_all_scores_by_sign(study: Path) -> None:
    model = reference.Model(study / "sft")
    ids = {row["sample"]: row["input_ids"] for row in pq.read_table(study / "attribution/tokens.parquet").to_pylist()}
    table = pq.read_table(study / "attribution/modules.parquet").to_pylist()
    targets = pq.read_table(study / "attribution/targets.parquet").to_pylist()
    rows = {(row["target"], row["module"]): row for row in table}
    assert len(rows) == len(table) == 14 * len(targets)
    expected = reference.scores(model, ids[targets[4]["sample"]], targets[4]["t"]).by_module
    for module, values in expected.items():
        found, size = rows[4, module], float(values.abs().sum())
        assert found["positive"] == pytest.approx(float(values.clamp(min=0).sum()), abs=1e-4 * size)
        assert found["negative"] == pytest.approx(float(values.clamp(max=0).sum()), abs=1e-4 * size)


def test_some_kinds_of_modules_alone_are_ranked_among_themselves(qwen3: Path) -> None:
    kinds = ["k_proj", "down_proj"]
    run(qwen3, name="some", modules=kinds)
    some = pq.read_table(qwen3 / "some/neurons.parquet").to_pandas()
    every = pq.read_table(qwen3 / "attribution/neurons.parquet").to_pandas()
    assert some.equals(every[every["module"].str.endswith(tuple(kinds))].reset_index(drop=True))
    sizes = [module.neurons for module in modules_of(qwen3 / "sft") if module.kind in kinds]
    assert json.loads((qwen3 / "some/summary.json").read_text())["neurons"] == sum(sizes)
    count = math.ceil(0.05 * sum(sizes))
    assert {len(chosen) for chosen in selected(qwen3, "some", 0.05).values()} == {count}


def test_ranking_within_modules_keeps_the_best_of_each(qwen3: Path) -> None:
    run(qwen3, name="within", ranking="module", keep=0.2)
    every = pq.read_table(qwen3 / "attribution/neurons.parquet").to_pandas()
    for target, chosen in selected(qwen3, "within", 0.1).items():
        for module in modules_of(qwen3 / "sft"):
            own = every[(every["target"] == target) & (every["module"] == module.name)]
            best = own.nlargest(math.ceil(0.1 * module.neurons), "score")
            assert {index for name, index in chosen if name == module.name} == set(best["index"])


def test_absolute_ranking_keeps_the_largest_magnitudes_with_their_sign(qwen3: Path) -> None:
    run(qwen3, name="absolute", sign="absolute")
    both = pq.read_table(qwen3 / "absolute/neurons.parquet").to_pandas()
    positive = pq.read_table(qwen3 / "attribution/neurons.parquet").to_pandas()
    assert (both["score"] < 0).any()
    for _, of_target in both.groupby("target"):
        assert of_target["score"].abs().is_monotonic_decreasing
    key = ["target", "module", "index"]
    kept = both[both["score"] > 0].sort_values(key).reset_index(drop=True)
    assert kept.equals(positive.sort_values(key).reset_index(drop=True))


def test_the_argmax_token_is_scored_where_it_is_asked_for(qwen3: Path) -> None:
    run(qwen3, name="argmax", token="argmax")
    model = reference.Model(qwen3 / "sft")
    gold = pq.read_table(qwen3 / "attribution/targets.parquet").to_pandas()
    found = pq.read_table(qwen3 / "argmax/targets.parquet").to_pandas()
    assert found[["sample", "t", "h_base", "h_sft"]].equals(gold[["sample", "t", "h_base", "h_sft"]])
    ids = {row["sample"]: row["input_ids"] for row in pq.read_table(qwen3 / "argmax/tokens.parquet").to_pylist()}
    for row in found.itertuples():
        logits = model.forward(ids[row.sample]).logits.detach()[row.t]
        assert row.y == int(logits.argmax()) and row.z == pytest.approx(float(logits[row.y]), rel=1e-4)
        assert row.z_reconstructed == pytest.approx(row.z, rel=1e-4)


def test_all_response_tokens_are_targets_where_it_is_asked_for(qwen3: Path) -> None:
    run(qwen3, name="all", targets="all", targets_per_sample=1)
    tokens = pq.read_table(qwen3 / "all/tokens.parquet").to_pylist()
    found = pq.read_table(qwen3 / "all/targets.parquet").to_pandas()
    for row in tokens:
        predicting = [t for t in range(len(row["input_ids"]) - 1) if row["response_mask"][t + 1]]
        assert found[found["sample"] == row["sample"]]["t"].tolist() == predicting


def test_a_logit_that_its_contributions_do_not_explain_is_warned_of(
    qwen3: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from stages.rejuvenation import attribution

    exact = attribution.attribute

    def wrong(*arguments: Any) -> Attribution:
        found = exact(*arguments)
        return dataclasses.replace(found, z_reconstructed=[value + 1.0 for value in found.z_reconstructed])

    monkeypatch.setattr(attribution, "attribute", wrong)
    run(qwen3, name="wrong")
    assert "RECONSTRUCTION: the logits of 9 of 9 targets" in caplog.text
    assert json.loads((qwen3 / "wrong/summary.json").read_text())["targets_beyond_reconstruction_bound"] == 9


def test_a_sample_with_fewer_candidates_than_targets_gives_them_all(qwen3: Path) -> None:
    targets = pq.read_table(run(qwen3, name="many", targets_per_sample=1000, keep=0.01) / "targets.parquet").to_pandas()
    tokens = pq.read_table(qwen3 / "many/tokens.parquet").to_pylist()
    assert [sum(targets["sample"] == row["sample"]) for row in tokens] == [sum(row["response_mask"]) for row in tokens]


def test_bfloat16_agrees_with_float32_in_most_of_what_it_selects(qwen3: Path) -> None:
    def kept(name: str, dtype: str) -> set[tuple[object, ...]]:
        table = pq.read_table(
            run(qwen3, name=name, keep=0.02, targets_per_sample=1000, dtype=dtype) / "neurons.parquet"
        )
        return set(table.drop_columns(["score"]).to_pandas().itertuples(index=False, name=None))

    exact, rough = kept("exact", "float32"), kept("rough", "bfloat16")
    assert len(exact & rough) > 0.8 * len(exact)


def test_biases_of_writers_belong_to_the_sum_and_to_no_neuron(tmp_path: Path) -> None:
    make(tmp_path, "llama", attention_bias=True, mlp_bias=True)
    assert "model.layers.0.mlp.down_proj.bias" in reference.Model(tmp_path / "sft").weights
    run(tmp_path)
    test_scores_and_reconstruction_equal_the_reference(tmp_path)


def test_one_model_is_in_memory_at_a_time(qwen3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measure, alive = scoring.predict, []

    def counting(*arguments: Any) -> list[list[Prediction]]:
        alive.append(
            sum(isinstance(thing, PreTrainedModel) and hasattr(thing, "lm_head") for thing in gc.get_objects())
        )
        return measure(*arguments)

    gc.collect()
    monkeypatch.setattr(scoring, "predict", counting)
    run(qwen3, name="lean")
    assert alive == [1, 1]


def test_fewer_rows_than_samples_is_an_error(qwen3: Path) -> None:
    with pytest.raises(StageError, match=r"attribute\.samples: 5, but .*calibration\.jsonl has only 4 rows"):
        run(qwen3, name="greedy", samples=5)


def test_a_row_longer_than_the_models_positions_is_an_error(tmp_path: Path) -> None:
    make(tmp_path, max_position_embeddings=8)
    with pytest.raises(StageError, match=r"row 1: \d+ tokens, more than the model's 8 positions"):
        run(tmp_path)


def test_nan_is_refused_by_tensor_and_index(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    make(tmp_path)
    file = tmp_path / "sft/model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"][5, 7] = torch.nan
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(StageError, match=r"model\.layers\.1\.mlp\.up_proj\.weight\[5, 7\] is nan"):
        run(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"samples": 0}, {"samples": 2.5}, {"keep": 0.0}, {"keep": 1.5}, {"dtype": "float16"}),
        *({"modules": []}, {"modules": ["lm_head"]}, {"ranking": "layer"}, {"targets": "some"}, {"sign": "negative"}),
    ],
)
def test_config_refuses_what_is_out_of_range(wrong: dict[str, object]) -> None:
    right = {"samples": 1, "targets_per_sample": 1, "dtype": "float32"}
    attribute.Config(**right)
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        attribute.Config(**(right | wrong))


def test_modules_have_one_order_and_no_repetition() -> None:
    right = {"samples": 1, "targets_per_sample": 1, "dtype": "float32"}
    assert attribute.check(attribute.Config(**right)) == []
    (message,) = attribute.check(attribute.Config(**right, modules=["down_proj", "q_proj"]))
    assert message.startswith("modules: ['down_proj', 'q_proj']; allowed: some of q_proj, k_proj")
