"""The method of sections 3.3 and 3.4 once more, in float64, from the files and by hand: the stages are held to it.

It shares no code with the stages and is built the other way round: one forward pass, written out position by position,
keeps its whole graph; one target's logit at a time is differentiated through all of it; and the writers' scores come
from the columns that are really written.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

READERS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
WRITERS = ("o_proj", "down_proj")


@dataclass
class Pass:
    """One forward pass: what every linear layer read and wrote, what the norm got, and the logits."""

    outputs: dict[str, Tensor] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    embedding: Tensor = field(default_factory=lambda: torch.empty(0))
    hidden: Tensor = field(default_factory=lambda: torch.empty(0))
    logits: Tensor = field(default_factory=lambda: torch.empty(0))


class Model:
    """A decoder read from its files, in float64."""

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.weights: dict[str, Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            self.weights |= {name: value.double() for name, value in load_file(file).items()}
        self.weights.setdefault("lm_head.weight", self.weights["model.embed_tokens.weight"])
        heads = self.config["num_attention_heads"]
        self.head = self.config.get("head_dim") or self.config["hidden_size"] // heads
        self.groups = heads // self.config["num_key_value_heads"]

    @property
    def layers(self) -> int:
        return self.config["num_hidden_layers"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + self.config["rms_norm_eps"]).sqrt() * self.weights[name]

    def linear(self, x: Tensor, name: str, record: Pass) -> Tensor:
        y = torch.einsum("ti,oi->to", x, self.weights[f"{name}.weight"])
        if f"{name}.bias" in self.weights:
            y = y + self.weights[f"{name}.bias"]
        if name.endswith(READERS):
            y.retain_grad()
        record.inputs[name], record.outputs[name] = x, y
        return y

    def rotate(self, x: Tensor) -> Tensor:
        """Rotary embedding of [T, heads, width]: halves of a head are real and imaginary part."""
        width = self.head // 2
        rope = self.config.get("rope_parameters") or self.config
        frequency = rope["rope_theta"] ** (-torch.arange(width, dtype=torch.float64) / width)
        angle = torch.arange(len(x), dtype=torch.float64)[:, None] * frequency
        turned = torch.complex(x[..., :width], x[..., width:]) * torch.polar(torch.ones_like(angle), angle)[:, None]
        return torch.cat([turned.real, turned.imag], dim=-1)

    def attention(self, x: Tensor, prefix: str, record: Pass) -> Tensor:
        q, k, v = (
            self.linear(x, f"{prefix}.{kind}", record).unflatten(1, (-1, self.head))
            for kind in ("q_proj", "k_proj", "v_proj")
        )
        if f"{prefix}.q_norm.weight" in self.weights:
            q, k = self.norm(q, f"{prefix}.q_norm.weight"), self.norm(k, f"{prefix}.k_norm.weight")
        q, k = self.rotate(q), self.rotate(k)
        rows = []
        for t in range(len(x)):  # position t sees 0..t and nothing else: no mask needed
            seen, values = (part[: t + 1].repeat_interleave(self.groups, dim=1) for part in (k, v))
            weight = torch.softmax(torch.einsum("hd,shd->hs", q[t], seen) / math.sqrt(self.head), dim=-1)
            rows.append(torch.einsum("hs,shd->hd", weight, values).flatten())
        return self.linear(torch.stack(rows), f"{prefix}.o_proj", record)

    def mlp(self, x: Tensor, prefix: str, record: Pass) -> Tensor:
        gate, up = (self.linear(x, f"{prefix}.{kind}", record) for kind in ("gate_proj", "up_proj"))
        return self.linear(gate * torch.sigmoid(gate) * up, f"{prefix}.down_proj", record)

    def forward(self, ids: list[int]) -> Pass:
        record = Pass(embedding=self.weights["model.embed_tokens.weight"][ids].requires_grad_())
        x = record.embedding
        for n in range(self.layers):
            at = f"model.layers.{n}"
            x = x + self.attention(self.norm(x, f"{at}.input_layernorm.weight"), f"{at}.self_attn", record)
            x = x + self.mlp(self.norm(x, f"{at}.post_attention_layernorm.weight"), f"{at}.mlp", record)
        record.hidden = x
        record.logits = self.norm(x, "model.norm.weight") @ self.weights["lm_head.weight"].T
        return record

    def entropy(self, ids: list[int]) -> Tensor:
        """[L]: entropy in nats of the distribution after each position."""
        return torch.distributions.Categorical(logits=self.forward(ids).logits.detach()).entropy()


@dataclass
class Scores:
    """Scores of all neurons for one target, by module name, with the logit and the sum that reconstructs it."""

    by_module: dict[str, Tensor]
    z: float
    z_reconstructed: float


def scores(model: Model, ids: list[int], t: int) -> Scores:
    """Score every neuron for the logit of x_{t+1} at position t."""
    record, y = model.forward(ids), ids[t + 1]
    record.logits[t, y].backward()
    h = record.hidden[t].detach()
    scale = 1 / math.sqrt(float((h * h).mean()) + model.config["rms_norm_eps"])
    direction = scale * model.weights["model.norm.weight"] * model.weights["lm_head.weight"][y]
    total = float(record.embedding[t].detach() @ direction)
    found = {}
    for name, output in record.outputs.items():
        if name.endswith(WRITERS):
            written = model.weights[f"{name}.weight"] * record.inputs[name][t].detach()  # column i: write of neuron i
            found[name] = direction @ written
            total += float(output[t].detach() @ direction)
        else:
            product = (output.grad * output).detach()
            found[name] = product[: t + 1].sum(0) if name.endswith(("k_proj", "v_proj")) else product[t]
    return Scores(found, record.logits[t, y].item(), total)


def bare_formula(sft: Tensor, base: Tensor, alpha: float) -> Tensor:
    """Fusion in numpy: every product and the sum is a float32 of its own; the dtype of `sft` at the end."""
    if alpha in (0, 1):
        return (sft if alpha else base).to(sft.dtype)
    a, b = np.float32(alpha), np.float32(1 - np.float64(alpha))
    ours, theirs = sft.float().numpy(), base.float().numpy()
    return torch.from_numpy(np.add(np.multiply(a, ours), np.multiply(b, theirs))).to(sft.dtype)
