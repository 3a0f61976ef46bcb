"""The stage `attribute` against the float64 reference, on every architecture, and what it refuses."""

from __future__ import annotations

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
from stages.rejuvenation import scoring
from tests import tiny_models
from tests.stages.rejuvenation import reference

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


def test_the_number_of_targets_in_one_pass_changes_nothing_but_rounding(qwen3: Path) -> None:
    one = pq.read_table(run(qwen3, name="one", batch=1) / "neurons.parquet").to_pandas()
    all_at_once = pq.read_table(qwen3 / "attribution/neurons.parquet").to_pandas()
    both = one.merge(all_at_once, on=["target", "module", "index"], how="outer").fillna(0.0)
    assert (both["score_x"] - both["score_y"]).abs().max() < BAND * both["score_x"].max()


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
    measure, alive = scoring.entropies, []

    def counting(*arguments: Any) -> list[list[float]]:
        alive.append(
            sum(isinstance(thing, PreTrainedModel) and hasattr(thing, "lm_head") for thing in gc.get_objects())
        )
        return measure(*arguments)

    gc.collect()
    monkeypatch.setattr(scoring, "entropies", counting)
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
    "wrong", [{"samples": 0}, {"keep": 0.0}, {"keep": 1.5}, {"dtype": "float16"}, {"samples": 2.5}]
)
def test_config_refuses_what_is_out_of_range(wrong: dict[str, object]) -> None:
    right = {"samples": 1, "targets_per_sample": 1, "dtype": "float32"}
    attribute.Config(**right)
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        attribute.Config(**(right | wrong))
