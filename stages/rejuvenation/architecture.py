"""Which linear layers have neurons, what a neuron is in each, and the one order in which all of them are counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

#: Families whose residual stream is embedding + attention writes + MLP writes, read by one RMSNorm and one unembedding,
#: without a multiplier anywhere: only then does equation 2 hold. (Gemma, Granite and Cohere scale; OLMo 2 post-norms.)
FAMILIES = ("llama", "qwen2", "qwen3")

#: Kinds of linear layers, in the order in which a layer's neurons are counted, with their place in the layer.
KINDS = {
    "q_proj": "self_attn",
    "k_proj": "self_attn",
    "v_proj": "self_attn",
    "o_proj": "self_attn",
    "gate_proj": "mlp",
    "up_proj": "mlp",
    "down_proj": "mlp",
}

#: Kinds that write to the residual stream. Their neurons are columns of the weight, those of the others are rows.
WRITERS = ("o_proj", "down_proj")

#: Kinds that attention reads at every later position, so that their scores are summed over the prefix.
PREFIX = ("k_proj", "v_proj")


@dataclass(frozen=True)
class Module:
    """One linear layer. `name` is as in the artifacts: `model.layers.0.self_attn.q_proj`."""

    name: str
    layer: int
    kind: str
    neurons: int

    @property
    def writes(self) -> bool:
        """Whether a neuron is a column (an input of a writer) and not a row (an output)."""
        return self.kind in WRITERS


def module_names(layers: int) -> list[tuple[str, int, str]]:
    """Name, layer and kind of every module: layer by layer, in the order of `KINDS`. Tied scores go by this order."""
    return [(f"model.layers.{n}.{place}.{kind}", n, kind) for n in range(layers) for kind, place in KINDS.items()]


def missing_modules(tensors: Iterable[str], layers: int) -> list[str]:
    """Weights that a supported model must have and that are not among `tensors`."""
    return [f"{name}.weight" for name, _, _ in module_names(layers) if f"{name}.weight" not in set(tensors)]


def modules(shapes: Mapping[str, tuple[int, ...]], layers: int) -> list[Module]:
    """All modules of a model with these tensor shapes, in the order of `module_names`."""
    found = []
    for name, layer, kind in module_names(layers):
        rows, columns = shapes[f"{name}.weight"]
        found.append(Module(name=name, layer=layer, kind=kind, neurons=columns if kind in WRITERS else rows))
    return found
