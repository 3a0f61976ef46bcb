"""The tensors that a model must have, by its config.json: names and shapes, compared with the headers of its files.

Of Llama, Qwen2 and Qwen3 every one is known, so that weights of another model, or of a part of one, are seen while it
is planned. Of other families it is seen whether the weights are of that family at all. The rest is seen when a stage
loads a model, by what transformers reports.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.forecast.shape import Shape, of_config
from stages import headers

#: What a wrapper leaves before every name: of data-parallel modules, compiled ones, peft's, FSDP's.
_WRAPPERS = ("module.", "_orig_mod.", "base_model.model.", "_fsdp_wrapped_module.", "_forward_module.")

#: The end of a name that a model of a family always has.
_MARKS = {
    **dict.fromkeys(
        ("llama", "qwen2", "qwen3", "mistral", "mixtral", "gemma", "gemma2", "gemma3_text", "granite", "cohere", "phi")
        + ("qwen2_moe", "qwen3_moe", "olmo", "olmo2", "starcoder2", "stablelm"),
        "layers.0.self_attn.q_proj.weight",
    ),
    "phi3": "layers.0.self_attn.qkv_proj.weight",
    "gpt2": "h.0.attn.c_attn.weight",
    "gpt_neox": "layers.0.attention.query_key_value.weight",
}

#: The prefix that a causal language model has before the names of its base model.
_BASE = "model."

#: The matrix that a tied model has in its embedding.
_HEAD = "lm_head.weight"

#: Names that are listed.
_LISTED = 3

Shapes = Mapping[str, tuple[int, ...]]


def wrong(config: Mapping[str, Any], shapes: Shapes) -> str | None:
    """Why tensors of these shapes are not those of a model with this config.json; None if they may be."""
    wrapper = os.path.commonprefix(list(shapes))
    prefix = next((each for each in _WRAPPERS if wrapper.startswith(each)), None)
    if prefix is not None:
        return (
            f"the names of all tensors begin with {prefix!r}, which a wrapper left there, so that none of them would "
            "be found and all would be random; save the model itself, or take the prefix off the names"
        )
    if config.get("quantization_config"):
        return None
    mark = _MARKS.get(str(config.get("model_type")))
    if mark is not None and not any(name.endswith(mark) for name in shapes):
        return (
            f"config.json says model_type {config['model_type']!r}, but no tensor is named ...{mark}; it has "
            f"{_few(sorted(shapes))}: the weights are of another family; take the config.json that belongs to them"
        )
    shape = of_config(config)
    return None if shape is None else _compared(shape, config, shapes)


def expected(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a model of Llama, Qwen2 or Qwen3; a tied head is not among them."""
    shape = of_config(config)
    assert shape is not None, "of another family, or without the shapes"
    found = dict(_expected(shape, config))
    if shape.tied:
        del found[_HEAD]
    return found


def _compared(shape: Shape, config: Mapping[str, Any], shapes: Shapes) -> str | None:
    """What is missing, of another shape or unknown, in one message."""
    known = dict(_expected(shape, config))
    there = {name: size for name, size in shapes.items() if not _is_buffer(name)}
    if not any(name.startswith(_BASE) for name in there):  # saved by the base model's class, which transformers finds
        known = {name.removeprefix(_BASE): size for name, size in known.items()}
    missing = [name for name in known if name not in there and not (shape.tied and name == _HEAD)]
    other = [
        f"{name} ({list(there[name])}, not {list(size)})"
        for name, size in known.items()
        if name in there and there[name] != size
    ]
    unknown = [name for name in sorted(there) if name not in known]
    kinds = {
        "missing, so that they would be random": missing,
        "of another shape than config.json says": other,
        "unknown to the model, so that they would be ignored": unknown,
    }
    parts = [f"{len(names)} {what}: {_few(names)}" for what, names in kinds.items() if names]
    if not parts:
        return None
    return (
        f"its weights are not those of the {config['model_type']} model that its config.json describes "
        f"({shape.layers} layers, hidden_size {shape.width}, vocab_size {shape.vocabulary}). Tensors that are "
        f"{'; '.join(parts)}. Take config.json and weights from one model, saved by save_pretrained"
    )


def _is_buffer(name: str) -> bool:
    """Constants that old checkpoints store and newer ones compute."""
    return name.endswith(headers.CONSTANTS)


def _expected(shape: Shape, config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    family = config["model_type"]
    width = shape.width
    attention = bool(config.get("attention_bias"))
    biased = {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj"), family == "qwen2" or attention),
        "o_proj": family != "qwen2" and attention,
        **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), family == "llama" and bool(config.get("mlp_bias"))),
    }
    linear = {
        "self_attn.q_proj": (shape.query, width),
        "self_attn.k_proj": (shape.kv, width),
        "self_attn.v_proj": (shape.kv, width),
        "self_attn.o_proj": (width, shape.query),
        "mlp.gate_proj": (shape.mlp, width),
        "mlp.up_proj": (shape.mlp, width),
        "mlp.down_proj": (width, shape.mlp),
    }
    yield "model.embed_tokens.weight", (shape.vocabulary, width)
    for layer in range(shape.layers):
        for name, size in linear.items():
            yield f"model.layers.{layer}.{name}.weight", size
            if biased[name.partition(".")[2]]:
                yield f"model.layers.{layer}.{name}.bias", size[:1]
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"model.layers.{layer}.{name}.weight", (width,)
        for name in ("q_norm", "k_norm") if shape.head_norms else ():
            yield f"model.layers.{layer}.self_attn.{name}.weight", (shape.head_width,)
    yield "model.norm.weight", (width,)
    yield _HEAD, (shape.vocabulary, width)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
