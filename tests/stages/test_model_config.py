"""Configs are compared as values: other spellings and defaults are equal, other functions are not."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig

from stages import model_config

BASE: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 128,
}
QWEN = {**BASE, "model_type": "qwen2"}
SLIDING = {**QWEN, "use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return model_config.differences(model_config.function(one), model_config.function(other), complete=True)


def by_transformers(config: dict[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in config.items() if name != "model_type"}
    return AutoConfig.for_model(config["model_type"], **given).to_dict()


EQUAL: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (BASE, {"rope_theta": 10000.0}),
    (BASE, {"rope_theta": 10000, "rope_scaling": None}),
    (BASE, {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}),
    (BASE, {"rope_parameters": {"rope_type": "linear", "factor": 1.0}}),
    (BASE, {"rms_norm_eps": 0.000001, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False}),
    (BASE, {"hidden_act": "swish", "tie_word_embeddings": False, "head_dim": 8}),
    (BASE, {"max_position_embeddings": 4096, "use_cache": False, "torch_dtype": "float16", "pretraining_tp": 1}),
    (BASE, {"sliding_window": 64, "bos_token_id": 5, "transformers_version": "4.40.0", "unsloth_version": "1"}),
    (BASE, {"partial_rotary_factor": 1.0, "initializer_range": 0.1, "attention_dropout": 0.1}),
    (QWEN, {"use_sliding_window": False, "sliding_window": 64, "max_window_layers": 1}),
    (QWEN, {"sliding_window": None, "layer_types": ["full_attention", "full_attention"]}),
    (SLIDING, {"layer_types": ["full_attention", "sliding_attention"], "max_window_layers": 28}),
]

DIFFERENT: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (BASE, {"rope_theta": 500000.0}, "config rope_parameters.rope_theta: 10000.0 in the base, 500000.0 in the"),
    (BASE, {"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}, "config rope_parameters.rope_theta"),
    (BASE, {"rope_scaling": {"type": "linear", "factor": 4.0}}, "config rope_parameters.factor: None in the base, 4.0"),
    (BASE, {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "'default' in the base, 'dynamic'"),
    (BASE, {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "'default' in the base, 'yarn'"),
    (BASE, {"partial_rotary_factor": 0.5}, "config rope_parameters.partial_rotary_factor: 1.0 in the base, 0.5"),
    (BASE, {"rms_norm_eps": 0.1}, "config rms_norm_eps: 1e-06 in the base, 0.1 in the checkpoint"),
    (BASE, {"hidden_act": "gelu"}, "config hidden_act"),
    (BASE, {"head_dim": 16}, "config head_dim: 8 in the base, 16 in the checkpoint"),
    (BASE, {"attention_bias": True}, "config attention_bias"),
    (BASE, {"tie_word_embeddings": True}, "config tie_word_embeddings: False in the base, True"),
    (BASE, {"num_attention_heads": 2}, "config num_attention_heads: 4 in the base, 2"),
    (
        QWEN,
        {"use_sliding_window": True, "max_window_layers": 0},
        "config sliding_window: [None, None] in the base, [4096",
    ),
    (SLIDING, {"sliding_window": 32}, "config sliding_window: [None, 64] in the base, [None, 32]"),
    (SLIDING, {"layer_types": ["sliding_attention", "full_attention"]}, "[None, 64] in the base, [64, None]"),
]


@pytest.mark.parametrize(("config", "said"), EQUAL)
def test_what_is_only_written_otherwise_is_equal(config: dict[str, Any], said: dict[str, Any]) -> None:
    other = {**config, **said}
    assert differences(config, other) == []
    assert differences(by_transformers(config), by_transformers(other)) == []


@pytest.mark.parametrize(("config", "said", "message"), DIFFERENT)
def test_another_function_is_named(config: dict[str, Any], said: dict[str, Any], message: str) -> None:
    other = {**config, **said}
    assert any(message in line for line in differences(config, other))
    assert any(message in line for line in differences(by_transformers(config), by_transformers(other)))


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("said", [{}, {"use_sliding_window": True, "max_window_layers": 1}, {"rope_theta": 1e6}])
def test_the_defaults_are_those_of_transformers(family: str, said: dict[str, Any]) -> None:
    config = {**BASE, "model_type": family, **said}
    assert differences(config, by_transformers(config)) == []


def test_the_context_of_the_pretraining_counts_where_a_scaling_reads_it() -> None:
    yarn = {**BASE, "rope_scaling": {"rope_type": "yarn", "factor": 2.0}}
    assert differences(yarn, {**yarn, "max_position_embeddings": 256})
    fixed = {**BASE, "rope_scaling": {**yarn["rope_scaling"], "original_max_position_embeddings": 64}}
    assert not differences(fixed, {**fixed, "max_position_embeddings": 256})


def test_a_default_of_another_family_is_not_guessed() -> None:
    config = {"model_type": "mistral", "hidden_size": 32}
    other = {**config, "sliding_window": 4096, "rms_norm_eps": 1e-5, "rope_theta": 1e6}
    ours, theirs = map(model_config.function, (config, other))
    assert model_config.differences(ours, theirs, complete=False) == []
    changed = model_config.function({**other, "rope_theta": 2e6})
    assert (
        "rope_theta: 1000000.0 in the base, 2000000.0" in model_config.differences(theirs, changed, complete=False)[0]
    )
