"""What a config.json says of the function that a model's weights are for: states of one model agree in it.

Equal shapes mean another function under another rotary base, epsilon or window. Values are compared, not spellings:
transformers 4 writes `rope_theta` and `rope_scaling`, 5 writes `rope_parameters`; what a config does not say is the
default of its family (transformers 5, `configuration_llama.py` and its like).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Fields that change what equal tensors compute, or what shapes they have; the rotary ones and windows are apart.
_FIELDS = (
    *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "hidden_act", "tie_word_embeddings", "attention_bias", "mlp_bias"),
    *("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon", "clip_qkv"),
    *("hidden_activation", "activation_function", "n_embd", "n_layer", "n_head", "n_inner", "ffn_dim"),
    *("final_logit_softcapping", "attn_logit_softcapping", "query_pre_attn_scalar", "logit_scale", "logits_scaling"),
    *("embedding_multiplier", "residual_multiplier", "attention_multiplier", "scale_attn_weights"),
    *("scale_attn_by_inverse_layer_idx", "use_parallel_residual", "use_qk_norm", "qk_layernorm", "layer_norm_type"),
    *("num_local_experts", "num_experts", "num_experts_per_tok", "norm_topk_prob", "routed_scaling_factor"),
)

#: What the families that are known here take for what a config does not say.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": False, "mlp_bias": False},
    "qwen2": {},
    "qwen3": {"attention_bias": False, "head_dim": 128},
}
_SHARED = {"hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False}

#: Two names of one activation.
_ALIASES = {"swish": "silu", "gelu_new": "gelu_pytorch_tanh", "gelu_fast": "gelu_pytorch_tanh"}

#: The base of the rotary frequencies where nobody says another.
_THETA = 10000.0

#: Kinds of rotary scaling that read how long the pretraining's context was, or how long the model's is.
_PRETRAINED = ("llama3", "yarn", "longrope")

#: What a kind of scaling takes for what is not said.
_SCALING: dict[str, dict[str, Any]] = {"yarn": {"beta_fast": 32, "beta_slow": 1}}


def function(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides what the weights compute: field -> value, in one spelling.

    Of a family that is not known here it has what the config says, so that a default is compared with no other.
    """
    family = config.get("model_type")
    known = family in _DEFAULTS
    said = {name: config[name] for name in _FIELDS if config.get(name) is not None}
    found = {**(_SHARED | _DEFAULTS[str(family)] if known else {}), **said}
    heads = found.get("num_attention_heads")
    if known and heads:
        found.setdefault("num_key_value_heads", heads)
        if isinstance(heads, int) and isinstance(found.get("hidden_size"), int):
            found.setdefault("head_dim", found["hidden_size"] // heads)
    for name in ("hidden_act", "hidden_activation", "activation_function"):
        if name in found:
            found[name] = _ALIASES.get(str(found[name]), found[name])
    if known or any(name in config for name in ("rope_theta", "rope_parameters")):
        found |= _rotary(config)
    return found | _windows(config, family)


def differences(base: Mapping[str, Any], checkpoint: Mapping[str, Any], *, complete: bool) -> list[str]:
    """Each field in which two functions differ, with both values; `complete`: whether a field that one lacks counts."""
    names = base.keys() | checkpoint.keys() if complete else base.keys() & checkpoint.keys()
    both = {name: (base.get(name), checkpoint.get(name)) for name in sorted(names)}
    return [f"config {n}: {a!r} in the base, {b!r} in the checkpoint" for n, (a, b) in both.items() if a != b]


def _rotary(config: Mapping[str, Any]) -> dict[str, Any]:
    """The rotary parameters, by name; of each kind of layer, where a config has them so."""
    given = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if not isinstance(given, Mapping):
        return {"rope_parameters": given}
    nested = {kind: each for kind, each in given.items() if isinstance(each, Mapping)}
    if nested and len(nested) == len(given):
        return {f"rope_parameters.{kind}": _one_rotary(each, config) for kind, each in nested.items()}
    return {f"rope_parameters.{name}": value for name, value in _one_rotary(given, config).items()}


def _one_rotary(given: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in given.items() if value is not None and name != "type"}
    kind = said.pop("rope_type", None) or given.get("type") or "default"
    theta = said.pop("rope_theta", None) or config.get("rope_theta") or _THETA
    part = said.pop("partial_rotary_factor", None) or config.get("partial_rotary_factor") or 1.0
    positions = config.get("max_position_embeddings")
    if kind == "linear" and said.get("factor") == 1:
        kind = "default"
    if kind == "default":
        said = {name: said[name] for name in ("mrope_section",) if name in said}
    elif kind in _PRETRAINED:
        said.setdefault("original_max_position_embeddings", positions)
        said["original_max_position_embeddings"] = (
            config.get("original_max_position_embeddings") or said["original_max_position_embeddings"]
        )
    elif kind == "dynamic":
        said["max_position_embeddings"] = positions
    return {"rope_type": kind, "rope_theta": theta, "partial_rotary_factor": part, **_SCALING.get(kind, {}), **said}


def _windows(config: Mapping[str, Any], family: object) -> dict[str, Any]:
    """How far back each layer sees: of Qwen's, None where there is no window; of others, what the config says."""
    if family == "llama":  # which reads none of it
        return {}
    if family in _DEFAULTS:
        layers = config.get("num_hidden_layers") or 0
        window = config.get("sliding_window", 4096) if config.get("use_sliding_window") else None
        kinds = config.get("layer_types")
        if not isinstance(kinds, list):
            first = config.get("max_window_layers", 28)
            kinds = ["sliding_attention" if n >= first else "full_attention" for n in range(layers)]
        return {"sliding_window": [window if kind == "sliding_attention" else None for kind in kinds]}
    names = ("sliding_window", "layer_types", "use_sliding_window", "max_window_layers", "sliding_window_pattern")
    return {name: config[name] for name in names if config.get(name) is not None}
