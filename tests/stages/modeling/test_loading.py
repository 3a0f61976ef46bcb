"""A checkpoint that transformers would complete with random numbers is loaded by nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaModel,
    MistralConfig,
    PretrainedConfig,
    Qwen3MoeConfig,
)

from stages.contract import StageError
from stages.modeling import checkpoint, loading
from tests import tiny_models

Change = Callable[[dict[str, Tensor]], dict[str, Tensor]]

SIZES = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_models.base(tmp_path / "model")


def change(folder: Path, tensors: Change = lambda values: values, **config: object) -> None:
    values = tensors(load_file(folder / "model.safetensors"))
    save_file(values, folder / "model.safetensors", metadata={"format": "pt"})
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))


def prefixed(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"module.{name}": value for name, value in values.items()}


def without_an_mlp(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in values.items() if "layers.1.mlp" not in name}


def with_a_value_head(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**values, "v_head.weight": torch.ones(1, 32)}


def with_buffers(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**values, "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}


BROKEN: dict[str, tuple[Change, dict[str, object], str]] = {
    "names of a wrapper": (prefixed, {}, "21 missing, so that they would be random: lm_head.weight"),
    "no mlp": (without_an_mlp, {}, "3 missing, so that they would be random: model.layers.1.mlp.down_proj.weight"),
    "a head too many": (with_a_value_head, {}, "1 unknown to the model, so that they would be ignored: v_head.weight"),
    "another family": (dict, {"model_type": "gpt2"}, "not those of a GPT2LMHeadModel"),
    "too few layers": (dict, {"num_hidden_layers": 3}, "9 missing"),
    "too many layers": (dict, {"num_hidden_layers": 1}, "9 unknown to the model"),
    "another width": (
        dict,
        {"hidden_size": 64},
        r"21 of another shape .* lm_head\.weight \(\[300, 32\], not \[300, 64\]\)",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_would_be_random_or_ignored_is_refused(model: Path, name: str) -> None:
    tensors, config, message = BROKEN[name]
    change(model, tensors, **config)
    with pytest.raises(StageError, match=message):
        checkpoint.load_model(tiny_models.source(model), dtype="float32")
    with pytest.raises(StageError, match=message):
        loading.check_headers(model)


def test_files_that_contradict_each_other_are_not_loaded(model: Path) -> None:
    (model / "adapter_config.json").write_text("{}")
    with pytest.raises(StageError, match="which is meant"):
        checkpoint.load_model(tiny_models.source(model), dtype="float32")


def loads(folder: Path) -> None:
    loading.check_headers(folder)
    checkpoint.load_model(tiny_models.source(folder), dtype="float32")


@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_what_is_whole_is_loaded(tmp_path: Path, family: str) -> None:
    loads(tiny_models.base(tmp_path / "model", family, shard_size="20KB"))


def test_rotary_buffers_and_pickles_are_harmless(model: Path) -> None:
    change(model, with_buffers)
    loads(model)
    torch.save(load_file(model / "model.safetensors"), model / "pytorch_model.bin")
    loads(model)
    (model / "model.safetensors").unlink()
    loads(model)


def test_a_base_model_without_a_head_is_loaded_where_the_head_is_tied(tmp_path: Path) -> None:
    for family in ("llama", "llama_tied"):
        folder = tiny_models.base(tmp_path / family, family)
        LlamaModel.from_pretrained(folder).save_pretrained(folder)
    loads(tmp_path / "llama_tied")
    with pytest.raises(StageError, match=r"1 missing, so that they would be random: lm_head\.weight"):
        loads(tmp_path / "llama")


@pytest.mark.parametrize(
    "config",
    [
        GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=4, n_positions=128),
        MistralConfig(**SIZES, **HEADS),
        Qwen3MoeConfig(**SIZES, **HEADS, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
    ],
    ids=lambda config: config.model_type,
)
def test_other_families_are_checked_by_their_own_class(tmp_path: Path, config: PretrainedConfig) -> None:
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    loads(tmp_path)
    change(tmp_path, prefixed)
    with pytest.raises(StageError, match="missing, so that they would be random"):
        loading.check_headers(tmp_path)


def test_an_eos_is_asked_for_where_responses_end_with_one(model: Path) -> None:
    file = model / "tokenizer_config.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in said.items() if name != "eos_token"}))
    assert checkpoint.load_tokenizer(tiny_models.source(model)).eos_token is None
    with pytest.raises(StageError, match=r"its tokenizer has no eos, .* name one in tokenizer_config\.json"):
        checkpoint.load_tokenizer(tiny_models.source(model), ends=True)
