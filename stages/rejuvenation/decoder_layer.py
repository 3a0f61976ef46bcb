"""One decoder layer of the supported families: its forward pass on packed tokens, and its backward pass for targets.

Autograd would take the gradients of N logits through all positions of every copy of a sample. Here the rows beyond a
target do not exist, the activations are those of one forward pass, shared by all targets, and no gradient of a weight
is formed. What a layer computes is written out once, in `replay`, or was `recorded` when the model itself ran;
`backward` is its transposed derivative.

Suffixes: S packed tokens, R gradient rows, N targets (see `packing`), Q the rows that have a gradient on entry, D
residual width, I intermediate width, O the outputs of a projection, H query heads, G key-value heads, K head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.rejuvenation.packing import Packing

#: Elements of attention weights that are in memory at once.
_WEIGHTS = 2**22


@dataclass(frozen=True)
class Replay:
    """What a layer computed. `query_SO`, `key_SO` and `value_SO` are the outputs of the linear layers themselves:
    before the q/k norms and RoPE, after the bias; `_SHK` and `_SGK` what attention then reads."""

    input_SD: Tensor
    query_SO: Tensor
    key_SO: Tensor
    value_SO: Tensor
    query_SHK: Tensor
    key_SGK: Tensor
    value_SGK: Tensor
    mixed_SO: Tensor
    middle_SD: Tensor
    gate_SI: Tensor
    up_SI: Tensor

    def product_NI(self, layer: nn.Module, at_N: Tensor) -> Tensor:
        """The input of down_proj at the targets."""
        return layer.mlp.act_fn(self.gate_SI[at_N]) * self.up_SI[at_N]  # type: ignore[operator,union-attr]


@dataclass(frozen=True)
class Gradients:
    """Of the target logits: with respect to the layer's input, and gradient x output of its five readers, [N, O]."""

    input_RD: Tensor
    scores: dict[str, Tensor]


@dataclass(frozen=True)
class Rotary:
    """Cosine and sine of RoPE at the S packed tokens, [S, 1, K]."""

    cos: Tensor
    sin: Tensor

    def turn(self, x_SHK: Tensor) -> Tensor:
        """RoPE as transformers applies it."""
        one, two = x_SHK.chunk(2, dim=-1)
        return x_SHK * self.cos + torch.cat((-two, one), dim=-1) * self.sin

    def turn_back(self, x_RHK: Tensor, token_R: Tensor) -> Tensor:
        """Its transpose, at the tokens of the rows."""
        cos, sin = self.cos[token_R], self.sin[token_R]
        one, two = (x_RHK * sin).chunk(2, dim=-1)
        return x_RHK * cos + torch.cat((two, -one), dim=-1)


#: Fields of a Replay that a forward pass of the model itself shows: the module, and whether its input is meant.
SHOWN = {
    "query_SO": ("self_attn.q_proj", False),
    "key_SO": ("self_attn.k_proj", False),
    "value_SO": ("self_attn.v_proj", False),
    "mixed_SO": ("self_attn.o_proj", True),
    "middle_SD": ("post_attention_layernorm", True),
    "gate_SI": ("mlp.gate_proj", False),
    "up_SI": ("mlp.up_proj", False),
}


def shown_width(layer: Any) -> int:
    """Elements of all `SHOWN` fields for one token."""
    return sum(layer.get_submodule(name).weight.shape[-1 if is_input else 0] for name, is_input in SHOWN.values())


@torch.no_grad()
def replay(layer: Any, input_SD: Tensor, rotary: Rotary, packing: Packing) -> Replay:
    """Run one layer on packed tokens, keeping what `backward` needs."""
    attention, mlp = layer.self_attn, layer.mlp
    x_SD = layer.input_layernorm(input_SD)
    outputs = {"query_SO": attention.q_proj(x_SD), "key_SO": attention.k_proj(x_SD), "value_SO": attention.v_proj(x_SD)}
    heads = _heads(attention, rotary, **outputs)
    mixed_SO = torch.cat([_attend(attention, *(x[span] for x in heads.values())) for span in packing.spans])
    middle_SD = input_SD + attention.o_proj(mixed_SO)
    x_SD = layer.post_attention_layernorm(middle_SD)
    gate_SI, up_SI = mlp.gate_proj(x_SD), mlp.up_proj(x_SD)
    return Replay(
        input_SD=input_SD, mixed_SO=mixed_SO, middle_SD=middle_SD, gate_SI=gate_SI, up_SI=up_SI, **outputs, **heads
    )


@torch.no_grad()
def recorded(layer: Any, input_SD: Tensor, shown: dict[str, Tensor], rotary: Rotary) -> Replay:
    """The same, from what a forward pass has shown of the fields in `SHOWN`."""
    outputs = {name: shown[name] for name in ("query_SO", "key_SO", "value_SO")}
    return Replay(input_SD=input_SD, **shown, **_heads(layer.self_attn, rotary, **outputs))


def _heads(attention: Any, rotary: Rotary, query_SO: Tensor, key_SO: Tensor, value_SO: Tensor) -> dict[str, Tensor]:
    """Queries, keys and values as attention reads them: in heads, after the q/k norms and RoPE."""
    query_SHK, key_SGK, value_SGK = (x.unflatten(-1, (-1, attention.head_dim)) for x in (query_SO, key_SO, value_SO))
    if hasattr(attention, "q_norm"):
        query_SHK, key_SGK = attention.q_norm(query_SHK), attention.k_norm(key_SGK)
    return {"query_SHK": rotary.turn(query_SHK), "key_SGK": rotary.turn(key_SGK), "value_SGK": value_SGK}


@torch.no_grad()
def backward(layer: Any, seen: Replay, gradient_QD: Tensor, rotary: Rotary, packing: Packing) -> Gradients:
    """Take the gradient at the layer's output back to its input, and score its readers on the way.

    `gradient_QD`, float32, has a row for each of the R rows, or for the last layer, which nothing follows that mixes
    positions, a row for each of the N targets.
    """
    whole = len(gradient_QD) == len(packing.token_R) and len(packing.token_R) > len(packing.t)
    token_Q = packing.token_R if whole else packing.at_N
    own = packing.last_N if whole else slice(None)  # the rows of the targets among the Q
    gradient_QD, scores = _mlp(layer, seen, gradient_QD, token_Q, own, packing.at_N)

    attention = layer.self_attn
    mixed_QO = _through(gradient_QD, attention.o_proj)
    query_QHK, key_RGK, value_RGK = _attention(attention, seen, mixed_QO, packing, whole=whole)
    query_QO = _rotated(attention, "q_norm", seen.query_SO, query_QHK, rotary, token_Q)
    key_RO = _rotated(attention, "k_norm", seen.key_SO, key_RGK, rotary, packing.token_R)
    value_RO = value_RGK.flatten(1)
    scores["q_proj"] = query_QO[own] * seen.query_SO[packing.at_N].float()
    scores["k_proj"] = _over_prefix(key_RO * seen.key_SO[packing.token_R].float(), packing)
    scores["v_proj"] = _over_prefix(value_RO * seen.value_SO[packing.token_R].float(), packing)

    x_RD = _through(key_RO, attention.k_proj) + _through(value_RO, attention.v_proj)
    from_query_QD = _through(query_QO, attention.q_proj)
    every = slice(None) if whole else packing.last_N
    x_RD[every] += from_query_QD
    input_RD = _through_norm(layer.input_layernorm, seen.input_SD[packing.token_R], x_RD)
    input_RD[every] += gradient_QD
    return Gradients(input_RD, scores)


def _mlp(
    layer: Any, seen: Replay, gradient_QD: Tensor, token_Q: Tensor, own: Tensor | slice, at_N: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Through the MLP and its norm, the residual stream included; scores of gate_proj and up_proj."""
    mlp = layer.mlp
    activation_SI, slope_SI = _activation(mlp.act_fn, seen.gate_SI)
    product_QI = _through(gradient_QD, mlp.down_proj)
    up_QI = product_QI * activation_SI[token_Q]
    gate_QI = product_QI.mul_((seen.up_SI * slope_SI)[token_Q])
    scores = {"gate_proj": gate_QI[own] * seen.gate_SI[at_N].float(), "up_proj": up_QI[own] * seen.up_SI[at_N].float()}
    x_QD = _through(up_QI, mlp.up_proj).add_(_through(gate_QI, mlp.gate_proj))
    return gradient_QD + _through_norm(layer.post_attention_layernorm, seen.middle_SD[token_Q], x_QD), scores


def _activation(act_fn: Any, gate_SI: Tensor) -> tuple[Tensor, Tensor]:
    """The activation function and its derivative at every token, float32."""
    with torch.enable_grad():
        gate_SI = gate_SI.float().requires_grad_()
        activation_SI = act_fn(gate_SI)
        (slope_SI,) = torch.autograd.grad(activation_SI.sum(), gate_SI)
    return activation_SI.detach(), slope_SI


def _attend(attention: Any, query_THK: Tensor, key_TGK: Tensor, value_TGK: Tensor) -> Tensor:
    """Causal attention of one sample: what o_proj reads, [T, O]."""
    window = _window(attention, len(query_THK), query_THK.device)
    query_1HTK, key_1GTK, value_1GTK = (x.transpose(0, 1)[None] for x in (query_THK, key_TGK, value_TGK))
    out_1HTK = functional.scaled_dot_product_attention(
        query_1HTK,
        key_1GTK,
        value_1GTK,
        attn_mask=window,
        is_causal=window is None,
        scale=attention.scaling,
        enable_gqa=True,
    )
    return out_1HTK[0].transpose(0, 1).flatten(1)


def _window(attention: Any, length: int, device: torch.device) -> Tensor | None:
    """Which keys a query of a sliding-window layer sees, [T, T]; None where it sees all before it."""
    window = getattr(attention, "sliding_window", None)
    if window is None or window >= length:
        return None
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)
    return (distance >= 0) & (distance < window)


def _attention(
    attention: Any, seen: Replay, mixed_QO: Tensor, packing: Packing, *, whole: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """From the gradient of what o_proj reads to those of queries [Q, H, K], keys and values [R, G, K] of attention."""
    width, rows = attention.head_dim, len(packing.token_R)
    mixed_QHK = mixed_QO.unflatten(-1, (-1, width))
    query_QHK = torch.empty_like(mixed_QHK)
    key_RGK = mixed_QHK.new_empty(rows, seen.key_SGK.shape[1], width)
    value_RGK = torch.empty_like(key_RGK)
    for sample, span in enumerate(packing.spans):
        targets = [n for n, b in enumerate(packing.sample) if b == sample]
        step = max(1, _WEIGHTS // (span.stop - span.start) ** 2 // attention.num_key_value_groups)
        for first in range(0, key_RGK.shape[1], step):
            heads = _Heads.of(attention, seen, span, slice(first, first + step))
            for n in targets:
                start, t = packing.starts[n], packing.t[n]
                asked = slice(0 if whole else t, t + 1)
                rows_Q = slice(start, start + t + 1) if whole else slice(n, n + 1)
                found = heads.backward(mixed_QHK[rows_Q, heads.queries], asked)
                query_QHK[rows_Q, heads.queries] = found[0]
                key_RGK[start : start + t + 1, heads.keys], value_RGK[start : start + t + 1, heads.keys] = found[1:]
    return query_QHK, key_RGK, value_RGK


@dataclass(frozen=True)
class _Heads:
    """Some key-value heads of one sample, with the query heads that read them: M queries to a key, T tokens."""

    queries: slice
    keys: slice
    query_GMTK: Tensor
    key_GTK: Tensor
    value_GTK: Tensor
    weights_GMTT: Tensor  # softmax of the scores, float32
    scaling: float

    @classmethod
    def of(cls, attention: Any, seen: Replay, span: slice, keys: slice) -> _Heads:
        group = attention.num_key_value_groups
        queries = slice(keys.start * group, keys.stop * group)
        query_GMTK = seen.query_SHK[span, queries].unflatten(1, (-1, group)).permute(1, 2, 0, 3)
        key_GTK, value_GTK = (x[span, keys].transpose(0, 1) for x in (seen.key_SGK, seen.value_SGK))
        length = span.stop - span.start
        score_GMTT = (query_GMTK @ key_GTK.mT[:, None]).float().mul_(attention.scaling)
        seen_TT = _window(attention, length, score_GMTT.device)
        if seen_TT is None:
            seen_TT = torch.ones(length, length, dtype=torch.bool, device=score_GMTT.device).tril_()
        weights_GMTT = score_GMTT.masked_fill_(~seen_TT, -torch.inf).softmax(-1)
        return cls(queries, keys, query_GMTK, key_GTK, value_GTK, weights_GMTT, attention.scaling)

    def backward(self, mixed_THK: Tensor, asked: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of queries [T', H, K] at the positions `asked`, and of the keys and values up to there [T, G, K].

        `mixed_THK` is the gradient of what attention returned at these positions.
        """
        until = slice(0, asked.stop)
        weights_GMTT = self.weights_GMTT[:, :, asked, until]
        dtype = self.value_GTK.dtype
        mixed_GMTK = mixed_THK.to(dtype).unflatten(1, (len(self.key_GTK), -1)).permute(1, 2, 0, 3)
        score_GMTT = (mixed_GMTK @ self.value_GTK[:, None, until].mT).float()
        score_GMTT -= (score_GMTT * weights_GMTT).sum(-1, keepdim=True)
        score_GMTT *= weights_GMTT
        score_GMTT = score_GMTT.mul_(self.scaling).to(dtype)
        query_GMTK = score_GMTT @ self.key_GTK[:, None, until]
        # the queries of one key are one long matrix, so that their sum is part of the product
        key_GTK = score_GMTT.flatten(1, 2).mT @ self.query_GMTK[:, :, asked].flatten(1, 2)
        value_GTK = weights_GMTT.to(dtype).flatten(1, 2).mT @ mixed_GMTK.flatten(1, 2)
        return query_GMTK.permute(2, 0, 1, 3).flatten(1, 2), key_GTK.transpose(0, 1), value_GTK.transpose(0, 1)


def _rotated(
    attention: Any, norm: str, output_SO: Tensor, gradient_RHK: Tensor, rotary: Rotary, token_R: Tensor
) -> Tensor:
    """Back through RoPE and, in Qwen3, the norm of each head: the gradient of the linear layer's output, [R, O]."""
    gradient_RHK = rotary.turn_back(gradient_RHK, token_R)
    if hasattr(attention, norm):
        heads_RHK = output_SO[token_R].unflatten(-1, gradient_RHK.shape[1:])
        gradient_RHK = _through_norm(getattr(attention, norm), heads_RHK, gradient_RHK)
    return gradient_RHK.flatten(1)


def _through(gradient_RO: Tensor, linear: nn.Linear) -> Tensor:
    """Back through a linear layer: the gradient of its input, float32."""
    return (gradient_RO.to(linear.weight.dtype) @ linear.weight).float()


def _through_norm(norm: Any, x: Tensor, gradient: Tensor) -> Tensor:
    """Back through an RMSNorm over the last axis, y = w x / sqrt(mean(x^2) + eps), float32."""
    x = x.float()
    scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)
    gradient = gradient * norm.weight.float()
    along = (gradient * x).mean(-1, keepdim=True) * scale.pow(2)
    return gradient.sub_(x * along).mul_(scale)


def _over_prefix(product_RO: Tensor, packing: Packing) -> Tensor:
    """Sum over each target's rows, that is over the positions 0..t, [N, O]."""
    return torch.segment_reduce(product_RO, "sum", lengths=packing.row_counts.to(product_RO.device), axis=0)
