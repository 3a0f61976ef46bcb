"""The tensors of a model by its config: those that transformers makes; and what is said of others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from orchestrator.forecast import tensors
from tests.orchestrator.forecast.paper import EVOLM

SMALL: dict[str, Any] = {
    **EVOLM,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
}
SHAPES = tensors.expected(SMALL)
BASE = {name.removeprefix("model."): shape for name, shape in SHAPES.items()}


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"tie_word_embeddings": True},
        {"attention_bias": True, "mlp_bias": True},
        {"head_dim": 16},
        {"model_type": "qwen2"},
        {"model_type": "qwen2", "tie_word_embeddings": True, "attention_bias": True},
        {"model_type": "qwen3"},
        {"model_type": "qwen3", "head_dim": 16, "attention_bias": True},
    ],
)
def test_they_are_those_that_transformers_makes(said: dict[str, Any]) -> None:
    config = {**SMALL, **said}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    made = {name: tuple(each.shape) for name, each in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del made["lm_head.weight"]
    assert tensors.expected(config) == made
    assert tensors.wrong(config, made) is None


@pytest.mark.parametrize("tied", [False, True])
def test_what_is_harmless_is_nothing_wrong(tied: bool) -> None:
    config = {**SMALL, "tie_word_embeddings": tied}
    for shapes in (SHAPES, BASE):
        assert tensors.wrong(config, shapes) is None
        assert tensors.wrong(config, {**shapes, "model.layers.0.self_attn.rotary_emb.inv_freq": (4,)}) is None
    headless = {name: shape for name, shape in SHAPES.items() if name != "lm_head.weight"}
    assert (tensors.wrong(config, headless) is None) is tied
    assert tensors.wrong({"model_type": "some_new_one"}, {"a": (1,)}) is None
    quantised = {**SMALL, "quantization_config": {"bits": 4}}
    assert tensors.wrong(quantised, {"model.layers.0.self_attn.q_proj.weight": (1,)}) is None


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model."])
def test_what_a_wrapper_left_is_named(prefix: str) -> None:
    for config in (SMALL, {"model_type": "some_new_one"}):
        message = tensors.wrong(config, {prefix + name: shape for name, shape in SHAPES.items()})
        assert message is not None and message.startswith(f"the names of all tensors begin with '{prefix}'")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"num_hidden_layers": 3}, "9 missing, so that they would be random: model.layers.2.self_attn.q_proj.weight"),
        ({"num_hidden_layers": 1}, "9 unknown to the model, so that they would be ignored: model.layers.1."),
        ({"hidden_size": 64}, "21 of another shape than config.json says: model.embed_tokens.weight ([300, 32], not"),
        (
            {"vocab_size": 301},
            "2 of another shape than config.json says: model.embed_tokens.weight ([300, 32], not [301",
        ),
        ({"attention_bias": True}, "8 missing, so that they would be random: model.layers.0.self_attn.q_proj.bias"),
        ({"model_type": "qwen2"}, "its weights are not those of the qwen2 model"),
        (
            {"model_type": "gpt2"},
            "config.json says model_type 'gpt2', but no tensor is named ...h.0.attn.c_attn.weight",
        ),
        ({"model_type": "phi3"}, "no tensor is named ...layers.0.self_attn.qkv_proj.weight"),
    ],
)
def test_another_model_than_the_config_says(said: dict[str, Any], message: str) -> None:
    found = tensors.wrong({**SMALL, **said}, SHAPES)
    assert found is not None and message in found


def test_a_layer_without_its_mlp() -> None:
    left = {name: shape for name, shape in SHAPES.items() if "layers.1.mlp" not in name}
    found = tensors.wrong(SMALL, left)
    assert found is not None and "3 missing, so that they would be random: model.layers.1.mlp.gate_proj.weight" in found
