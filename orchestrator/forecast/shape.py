"""The shape of a decoder: its dimensions, and what they determine exactly.

Llama, Qwen2 (biases of q, k and v) and Qwen3 (norms of the heads of q and k), with tied or untied embeddings: the
families that the stages know. EvoLM-4B, for example:

    layer      2 x 4096 x 4096 + 2 x 4096 x 512 + 3 x 4096 x 7792 + 2 x 4096 = 133,505,024
    all        28 x 133,505,024 + 2 x 32,000 x 4096 + 4096 = 4,000,288,768
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stages import pretrain

#: Bytes of an element.
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

#: Width of a head where a config does not say it: Qwen3's default; the others divide their width by their heads.
_HEAD = {"qwen3": 128}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Dimensions of a decoder.

    Attributes:
        layers: decoder layers.
        width: of the residual stream.
        mlp: width inside the MLP.
        heads, kv_heads: query heads; key and value heads.
        head_width: of one head.
        vocabulary: rows of the embedding.
        positions: that the model is made for.
        tied: whether the embedding is the output's matrix too.
        biases: elements of the biases of a layer.
        head_norms: whether the heads of q and k have a norm each.
    """

    layers: int
    width: int
    mlp: int
    heads: int
    kv_heads: int
    head_width: int
    vocabulary: int
    positions: int
    tied: bool = False
    biases: int = 0
    head_norms: bool = False

    @property
    def query(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_width

    @property
    def kv(self) -> int:
        """Width of all key heads together; that of the value heads is the same."""
        return self.kv_heads * self.head_width

    @property
    def layer(self) -> int:
        """Parameters of a layer: q and o, k and v, gate, up and down, two norms."""
        matrices = 2 * self.width * self.query + 2 * self.width * self.kv + 3 * self.width * self.mlp
        norms = 2 * self.width + (2 * self.head_width if self.head_norms else 0)
        return matrices + norms + self.biases

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of the output's matrix, which is the same one if they are tied."""
        return self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """All of them, the final norm's included."""
        return (1 if self.tied else 2) * self.embedding + self.layers * self.layer + self.width

    @property
    def neurons(self) -> int:
        """Outputs of q, k, v, gate and up and inputs of o and down, in all layers: what attribution ranks."""
        return self.layers * (2 * self.query + 2 * self.kv + 3 * self.mlp)

    def cache(self, dtype: str) -> int:
        """Bytes of KV cache for one token."""
        return 2 * self.layers * self.kv * BYTES[dtype]


def of_config(config: Mapping[str, Any]) -> Shape | None:
    """The shape in a config.json; None if it is of another family, or does not say it."""
    family = config.get("model_type")
    if family not in ("llama", "qwen2", "qwen3"):
        return None
    try:
        width, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        kv_heads = int(config.get("num_key_value_heads") or heads)
        head = int(config.get("head_dim") or _HEAD.get(family, width // heads))
        mlp = int(config["intermediate_size"])
        return Shape(
            layers=int(config["num_hidden_layers"]),
            width=width,
            mlp=mlp,
            heads=heads,
            kv_heads=kv_heads,
            head_width=head,
            vocabulary=int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
            tied=bool(config.get("tie_word_embeddings")),
            biases=_biases(config, width, mlp, head * heads, head * kv_heads),
            head_norms=family == "qwen3",
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def of_pretraining(config: Mapping[str, Any]) -> Shape:
    """The shape that `pretrain` makes with a config; its vocabulary is what a tokenizer may have at most."""
    return Shape(
        layers=config["layers"],
        width=config["width"],
        mlp=config["mlp"],
        heads=config["heads"],
        kv_heads=config["kv_heads"],
        head_width=config["width"] // config["heads"],
        vocabulary=config["vocabulary"],
        positions=pretrain.POSITIONS,
    )


def _biases(config: Mapping[str, Any], width: int, mlp: int, query: int, kv: int) -> int:
    """Elements of the biases of a layer: Qwen2 has those of q, k and v; the others what their config says."""
    if config["model_type"] == "qwen2":
        return query + 2 * kv
    attention = query + 2 * kv + width if config.get("attention_bias") else 0
    inside = 2 * mlp + width if config.get("mlp_bias") else 0
    return attention + inside
