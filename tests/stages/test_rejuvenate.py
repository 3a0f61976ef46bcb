"""The stage `rejuvenate`: bit for bit the formula, in the checkpoint's own layout, for the set that was written."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GemmaConfig,
    GPT2Config,
    MistralConfig,
    PretrainedConfig,
    Qwen3MoeConfig,
)

from stages import attribute, rejuvenate
from stages.contract import Context, Resources, StageError
from stages.progress import Progress
from tests import tiny_models
from tests.stages.rejuvenation import reference

#: Family, dtype and shards of the base, dtype and shards of the SFT checkpoint.
LAYOUTS = {
    "llama": ("float32", "5GB", "float32", "20KB"),
    "llama_tied": ("bfloat16", "20KB", "bfloat16", "5GB"),
    "qwen2": ("float32", "20KB", "bfloat16", "30KB"),
    "qwen3": ("bfloat16", "5GB", "float32", "20KB"),
}


def context(output: Path, **inputs: Path) -> Context:
    output.mkdir()
    return Context(
        inputs={kind: tiny_models.source(path) for kind, path in inputs.items()},
        work=output.parent,
        output=output,
        resources=Resources(),
        progress=Progress(output.parent / "progress.json"),
    )


def rejuvenated(study: SimpleNamespace, name: str, *, alpha: float, rho: float, **options: Any) -> Path:
    """The artifact of one rejuvenation of the study's checkpoint."""
    inputs = {"base": study.base, "checkpoint": study.sft} | ({"attribution": study.attribution} if rho else {})
    config = rejuvenate.Config(alpha=alpha, rho=rho, **options)
    assert rejuvenate.takes(config) == tuple(inputs)
    rejuvenate.run(config, context(study.folder / name, **inputs))
    return study.folder / name


def tensors(model: Path) -> dict[str, torch.Tensor]:
    return {name: value for file in sorted(model.glob("*.safetensors")) for name, value in load_file(file).items()}


def expected(
    study: SimpleNamespace, alpha: float, reset: pd.DataFrame, *, reset_alpha: float = 0.0
) -> dict[str, torch.Tensor]:
    """The design's formula for a reset set."""
    sft, base = tensors(study.sft), tensors(study.base)
    result = {name: reference.bare_formula(ours, base[name], alpha) for name, ours in sft.items()}
    values = {name: reference.bare_formula(ours, base[name], reset_alpha) for name, ours in sft.items()}
    for module, index in reset.itertuples(index=False):
        at = (slice(None), index) if module.endswith(reference.WRITERS) else index
        result[f"{module}.weight"][at] = values[f"{module}.weight"][at]
        if f"{module}.bias" in result and not module.endswith(reference.WRITERS):
            result[f"{module}.bias"][index] = values[f"{module}.bias"][index]
    return result


def reset_of(artifact: Path) -> pd.DataFrame:
    return pq.read_table(artifact / "reset.parquet").to_pandas()


def summary_of(artifact: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((artifact / "summary.json").read_text())
    return summary


def same_bits(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        a.dtype == theirs[n].dtype and torch.equal(a.view(torch.uint8), theirs[n].view(torch.uint8))
        for n, a in ours.items()
    )


@pytest.fixture(scope="module", params=LAYOUTS)
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two checkpoints in different shards and dtypes, and an attribution that keeps every positive neuron."""
    folder = tmp_path_factory.mktemp(request.param)
    base_dtype, base_shards, sft_dtype, sft_shards = LAYOUTS[request.param]
    base = tiny_models.base(folder / "base", request.param, dtype=base_dtype, shard_size=base_shards)
    sft = tiny_models.sft(folder / "sft", base, dtype=sft_dtype, shard_size=sft_shards)
    rows = tiny_models.calibration(folder / "calibration.jsonl")
    attribute.run(
        attribute.Config(samples=2, targets_per_sample=3, keep=1.0, dtype="float32"),
        context(folder / "attribution", base=base, checkpoint=sft, calibration=rows),
    )
    return SimpleNamespace(folder=folder, base=base, sft=sft, attribution=folder / "attribution")


@pytest.mark.parametrize(("alpha", "rho"), [(0.5, 0.01), (0.3, 0.1), (1.0, 0.02), (0.0, 0.02), (0.45, 0.0)])
def test_weights_are_the_formula_bit_for_bit(study: SimpleNamespace, alpha: float, rho: float) -> None:
    artifact = rejuvenated(study, f"{alpha}-{rho}", alpha=alpha, rho=rho)
    reset = reset_of(artifact)
    assert (len(reset) > 0) == (rho > 0)
    assert same_bits(tensors(artifact / "model"), expected(study, alpha, reset))


def test_reset_set_is_the_union_of_the_best_of_the_reference(study: SimpleNamespace) -> None:
    reset = reset_of(rejuvenated(study, "union", alpha=0.5, rho=0.02))
    found = set(reset.itertuples(index=False, name=None))
    model = reference.Model(study.sft)
    ids = {row["sample"]: row["input_ids"] for row in pq.read_table(study.attribution / "tokens.parquet").to_pylist()}
    certain: set[tuple[str, int]] = set()
    possible: set[tuple[str, int]] = set()
    for target in pq.read_table(study.attribution / "targets.parquet").to_pylist():
        by_module = reference.scores(model, ids[target["sample"]], target["t"]).by_module
        flat = {(name, i): s for name, values in by_module.items() for i, s in enumerate(values.tolist())}
        cut = sorted(flat.values(), reverse=True)[math.ceil(0.02 * len(flat)) - 1]
        band = 1e-4 * max(map(abs, flat.values()))
        certain |= {neuron for neuron, s in flat.items() if s > cut + band}
        possible |= {neuron for neuron, s in flat.items() if s >= cut - band}
    assert certain <= found <= possible


def test_layout_metadata_and_companions_are_those_of_the_checkpoint(study: SimpleNamespace) -> None:
    model = rejuvenated(study, "layout", alpha=0.5, rho=0.01) / "model"
    assert sorted(file.name for file in model.iterdir()) == sorted(file.name for file in study.sft.iterdir())
    for file in study.sft.iterdir():
        if file.suffix != ".safetensors":
            assert (model / file.name).read_bytes() == file.read_bytes()
            continue
        with safe_open(file, "pt") as before, safe_open(model / file.name, "pt") as after:
            assert after.metadata() == before.metadata()
            assert after.offset_keys() == before.offset_keys()
    loaded = AutoModelForCausalLM.from_pretrained(model)
    assert loaded(torch.tensor([[2, 3]])).logits.isfinite().all()
    assert AutoTokenizer.from_pretrained(model).eos_token == "<eos>"


def test_keep_1_and_rho_1_reset_every_neuron_with_a_positive_score(study: SimpleNamespace) -> None:
    reset = reset_of(rejuvenated(study, "all", alpha=0.5, rho=1.0))
    scored = pq.read_table(study.attribution / "neurons.parquet").to_pandas()
    assert (scored["score"] > 0).all()
    pairs = scored[["module", "index"]].drop_duplicates()
    assert set(reset.itertuples(index=False, name=None)) == set(pairs.itertuples(index=False, name=None))


def test_summary_counts_what_was_reset(study: SimpleNamespace) -> None:
    artifact = rejuvenated(study, "summary", alpha=0.5, rho=0.05)
    summary = summary_of(artifact)
    reset = reset_of(artifact)
    sft, base = tensors(study.sft), tensors(study.base)
    marked = {name: torch.zeros(value.shape) for name, value in sft.items()}
    for module, index in reset.itertuples(index=False):
        marked[f"{module}.weight"][(slice(None), index) if module.endswith(reference.WRITERS) else index] = 1
        if f"{module}.bias" in sft:
            marked[f"{module}.bias"][index] = 1
    assert sft.keys() == base.keys()
    covered = {name: int(value.sum()) for name, value in marked.items()}
    total = sum(value.numel() for value in sft.values())
    assert summary["selected"] == len(reset)
    assert summary["reset_ratio"] == len(reset) / summary["neurons"]
    assert summary["parameter_ratio"] == sum(covered.values()) / total
    assert sum(part["selected"] for part in summary["layers"].values()) == len(reset)
    assert sum(part["selected"] for part in summary["kinds"].values()) == len(reset)
    for module, part in summary["modules"].items():
        own = [name for name in sft if name.startswith(f"{module}.")]
        assert part["selected"] == sum(reset["module"] == module)
        assert part["parameter_ratio"] == sum(covered[n] for n in own) / sum(sft[n].numel() for n in own)
    layer = [name for name in sft if name.startswith("model.layers.1.")]
    assert summary["layers"]["1"]["parameter_ratio"] == sum(covered[n] for n in layer) / sum(
        sft[n].numel() for n in layer
    )


def test_a_control_resets_as_many_neurons_of_each_module_but_other_ones(study: SimpleNamespace) -> None:
    chosen = rejuvenated(study, "chosen", alpha=0.5, rho=0.05)
    control = rejuvenated(study, "control", alpha=0.5, rho=0.05, neurons="random", seed=7)
    ours, theirs = summary_of(control), summary_of(chosen)
    assert ours.pop("selection") == "random" and theirs.pop("selection") == "attributed"
    assert ours == theirs  # the ratios of the model and of each module, kind and layer too
    both = [set(reset_of(artifact).itertuples(index=False, name=None)) for artifact in (control, chosen)]
    assert both[0] != both[1]
    assert same_bits(tensors(control / "model"), expected(study, 0.5, reset_of(control)))
    again = rejuvenated(study, "again", alpha=0.1, rho=0.05, neurons="random", seed=7)
    assert reset_of(again).equals(reset_of(control))
    assert not reset_of(rejuvenated(study, "seed 8", alpha=0.5, rho=0.05, neurons="random", seed=8)).equals(
        reset_of(control)
    )


@pytest.mark.parametrize(("alpha", "reset_alpha"), [(0.5, 1.0), (0.6, 0.2), (1.0, 0.3), (0.0, 1.0)])
def test_neurons_may_be_reset_to_another_fusion(study: SimpleNamespace, alpha: float, reset_alpha: float) -> None:
    artifact = rejuvenated(study, f"{alpha} {reset_alpha}", alpha=alpha, rho=0.05, reset_alpha=reset_alpha)
    reset = reset_of(artifact)
    assert len(reset) > 0
    assert same_bits(tensors(artifact / "model"), expected(study, alpha, reset, reset_alpha=reset_alpha))


def test_a_reset_to_the_same_fusion_changes_nothing(study: SimpleNamespace) -> None:
    reset = rejuvenated(study, "same", alpha=0.3, rho=0.1, reset_alpha=0.3)
    plain = rejuvenated(study, "plain", alpha=0.3, rho=0.0)
    assert same_bits(tensors(reset / "model"), tensors(plain / "model"))


def test_alpha_0_without_reset_is_the_base_in_the_dtype_of_the_checkpoint(study: SimpleNamespace) -> None:
    made, sft = tensors(rejuvenated(study, "base again", alpha=0.0, rho=0.0) / "model"), tensors(study.sft)
    assert same_bits(made, {name: values.to(sft[name].dtype) for name, values in tensors(study.base).items()})


def test_alpha_1_without_reset_copies_the_files(study: SimpleNamespace) -> None:
    model = rejuvenated(study, "copy", alpha=1.0, rho=0.0) / "model"
    assert all((model / file.name).read_bytes() == file.read_bytes() for file in study.sft.iterdir())


def test_a_rho_above_keep_is_refused(tmp_path: Path) -> None:
    base = tiny_models.base(tmp_path / "base")
    (tmp_path / "attribution").mkdir()
    summary = {"keep": 0.1, "neurons": 1, "modules": ["q_proj"], "ranking": "model", "sign": "positive", "tie_band": 0}
    (tmp_path / "attribution/summary.json").write_text(json.dumps(summary))
    study = SimpleNamespace(folder=tmp_path, base=base, sft=base, attribution=tmp_path / "attribution")
    with pytest.raises(StageError, match=r"rejuvenate\.rho: 0\.2; allowed: at most attribute\.keep, which is 0\.1"):
        rejuvenated(study, "greedy", alpha=0.5, rho=0.2)
    with pytest.raises(StageError, match="attribution of 1 neurons of q_proj; the checkpoint has 64"):
        rejuvenated(study, "foreign", alpha=0.5, rho=0.1)


def test_an_attribution_of_two_kinds_resets_no_other(tmp_path: Path) -> None:
    base = tiny_models.base(tmp_path / "base")
    sft = tiny_models.sft(tmp_path / "sft", base)
    rows = tiny_models.calibration(tmp_path / "calibration.jsonl")
    writers = attribute.Config(
        samples=2, targets_per_sample=3, keep=1.0, dtype="float32", modules=["o_proj", "down_proj"]
    )
    attribute.run(writers, context(tmp_path / "attribution", base=base, checkpoint=sft, calibration=rows))
    study = SimpleNamespace(folder=tmp_path, base=base, sft=sft, attribution=tmp_path / "attribution")
    artifact = rejuvenated(study, "writers", alpha=0.5, rho=0.1)
    reset, summary = reset_of(artifact), summary_of(artifact)
    assert set(reset["module"].str.split(".").str[-1]) == {"o_proj", "down_proj"}
    assert summary["neurons"] == 2 * (32 + 16 + 16 + 32 + 48 + 48 + 48)  # of all kinds, whatever takes part
    assert summary["reset_ratio"] == len(reset) / summary["neurons"]
    assert summary["near_ties_per_target"] >= 0 and summary["tie_band"] == 1e-4


def test_an_infinity_is_refused_by_tensor_and_index(tmp_path: Path) -> None:
    base = tiny_models.base(tmp_path / "base")
    sft = tiny_models.sft(tmp_path / "sft", base)
    values = load_file(base / "model.safetensors")
    values["model.norm.weight"][3] = torch.inf
    save_file(values, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StageError, match=r"base/model\.safetensors: model\.norm\.weight\[3\] is inf"):
        rejuvenated(SimpleNamespace(folder=tmp_path, base=base, sft=sft), "out", alpha=0.5, rho=0.0)


def test_a_tied_unembedding_may_be_stored_on_either_side(tmp_path: Path) -> None:
    base = tiny_models.base(tmp_path / "base", "llama_tied")
    sft = tiny_models.sft(tmp_path / "sft", base)
    study = SimpleNamespace(folder=tmp_path, base=base, sft=sft)
    plain = tensors(rejuvenated(study, "absent", alpha=0.4, rho=0.0) / "model")
    values = load_file(sft / "model.safetensors")
    copy = values["model.embed_tokens.weight"].clone()
    save_file({**values, "lm_head.weight": copy}, sft / "model.safetensors", metadata={"format": "pt"})
    stored = tensors(rejuvenated(study, "stored", alpha=0.4, rho=0.0) / "model")
    assert torch.equal(stored.pop("lm_head.weight"), plain["model.embed_tokens.weight"])
    assert same_bits(stored, plain)
    ours = json.loads((tmp_path / "stored/summary.json").read_text())
    assert ours["modules"] == json.loads((tmp_path / "absent/summary.json").read_text())["modules"]
    swapped = SimpleNamespace(folder=tmp_path, base=sft, sft=base)
    assert "lm_head.weight" not in tensors(rejuvenated(swapped, "swapped", alpha=0.4, rho=0.0) / "model")


@pytest.mark.parametrize(
    "wrong",
    [
        {"alpha": 1.1},
        {"alpha": -0.1},
        {"rho": 2.0},
        {"rho": math.nan},
        {"alpha": "0.5"},
        {"reset_alpha": 2.0},
        {"neurons": "all"},
        {"seed": -1},
    ],
)
def test_config_refuses_what_is_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        rejuvenate.Config(**({"alpha": 0.5, "rho": 0.01} | wrong))


def test_a_seed_without_a_draw_is_refused() -> None:
    assert rejuvenate.check(rejuvenate.Config(alpha=0.5, rho=0.01)) == []
    assert rejuvenate.check(rejuvenate.Config(alpha=0.5, rho=0.01, neurons="random", seed=1)) == []
    (message,) = rejuvenate.check(rejuvenate.Config(alpha=0.5, rho=0.01, seed=1))
    assert message == "seed: 1 has no effect; it is of the draw of neurons=random or merge=dare_linear"


@pytest.mark.parametrize(("merge", "density"), [("linear", 0.5), ("slerp", 0.5), ("ties", None), ("dare_linear", None)])
def test_a_density_belongs_to_the_merges_that_drop_elements(merge: Any, density: float | None) -> None:
    (message,) = rejuvenate.check(rejuvenate.Config(alpha=0.5, rho=0.0, merge=merge, density=density))
    assert message.startswith(f"density: {density} has no effect" if density else "density: null; merge=")


SIZES: dict[str, Any] = {
    **{"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128},
}


@pytest.mark.parametrize(
    "config",
    [
        MistralConfig(**SIZES),
        GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=128),
        GemmaConfig(**SIZES, head_dim=16),
        Qwen3MoeConfig(**SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
    ],
    ids=lambda config: config.model_type,
)
def test_fusion_alone_needs_no_family(tmp_path: Path, config: PretrainedConfig) -> None:
    models = {}
    for seed, name in enumerate(("base", "checkpoint")):
        torch.manual_seed(seed)
        models[name] = AutoModelForCausalLM.from_config(config)
        models[name].save_pretrained(tmp_path / name)
        tiny_models.tokenizer().save_pretrained(tmp_path / name)
    made = context(tmp_path / "made", base=tmp_path / "base", checkpoint=tmp_path / "checkpoint")
    rejuvenate.run(rejuvenate.Config(alpha=0.25, rho=0.0), made)
    assert (summary_of(made.output)["neurons"], summary_of(made.output)["reset_ratio"]) == (0, 0.0)
    fused = AutoModelForCausalLM.from_pretrained(made.output / "model").state_dict()
    base, ours = (models[name].state_dict() for name in ("base", "checkpoint"))
    assert all(
        torch.equal(value, reference.bare_formula(ours[name], base[name], 0.25)) for name, value in fused.items()
    )


def test_masks_that_old_checkpoints_store_are_copied(tmp_path: Path) -> None:
    masks = {"h.0.attn.bias": torch.ones(1, 1, 8, 8, dtype=torch.uint8), "h.0.attn.masked_bias": torch.tensor(-1e4)}
    models = {}
    for seed, name in enumerate(("base", "checkpoint")):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=4))
        model.save_pretrained(tmp_path / name)
        file = tmp_path / name / "model.safetensors"
        models[name] = {key.removeprefix("transformer."): value for key, value in load_file(file).items()}
        save_file(models[name] | masks, file, metadata={"format": "pt"})  # as the hub has GPT-2
        tiny_models.tokenizer().save_pretrained(tmp_path / name)
    made = context(tmp_path / "made", base=tmp_path / "base", checkpoint=tmp_path / "checkpoint")
    rejuvenate.run(rejuvenate.Config(alpha=0.25, rho=0.0), made)
    fused = load_file(made.output / "model" / "model.safetensors")
    for name, value in fused.items():
        ours = masks.get(name)
        assert torch.equal(
            value,
            reference.bare_formula(models["checkpoint"][name], models["base"][name], 0.25) if ours is None else ours,
        )


def test_an_index_that_is_not_needed_is_not_copied(tmp_path: Path) -> None:
    base = tiny_models.base(tmp_path / "base")
    sft = tiny_models.sft(tmp_path / "sft", base, shard_size="20KB")
    save_file(tensors(sft), sft / "model.safetensors", metadata={"format": "pt"})  # the same, in one file
    made = context(tmp_path / "made", base=base, checkpoint=sft)
    rejuvenate.run(rejuvenate.Config(alpha=0.5, rho=0.0), made)
    assert [file.name for file in (made.output / "model").glob("*safetensors*")] == ["model.safetensors"]
