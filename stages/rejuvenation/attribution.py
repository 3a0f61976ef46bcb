"""Step 2 (section 3.4.1): how much each neuron contributes to the logit of a target token.

One forward pass of the model itself is shared by all targets of its samples. Then their gradients go back through each
layer together (`decoder_layer`), and no gradient of a weight is formed. Where the activations of all layers are too
many, only the layers' inputs are kept, and each layer is run once more before its turn. The reconstruction of every
logit from the exact scores shows that nothing of the model was left out.

Suffixes: B samples, T positions, S packed tokens, N targets, R gradient rows, D residual width, M all neurons of the
model in the order of `architecture.modules`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from stages.rejuvenation import decoder_layer
from stages.rejuvenation.architecture import KINDS, Module
from stages.rejuvenation.decoder_layer import Rotary
from stages.rejuvenation.packing import Packing, Passage

#: Bytes of activations that one pass may keep.
_KEPT = 2**31


@dataclass(frozen=True)
class Attribution:
    """Scores of N targets, in the order of the samples and their positions.

    `z` is the true logit of the target token, `z_reconstructed` the sum of all writes to the residual stream
    projected on d (equation 2): its distance from `z` shows how tight the decomposition is.
    """

    scores_NM: Tensor
    z: list[float]
    z_reconstructed: list[float]


@dataclass(frozen=True)
class _Trace:
    """What the layers were called with, packed, and where it was kept, what they computed (`decoder_layer.SHOWN`).

    `output_SD` feeds the final norm.
    """

    inputs_SD: list[Tensor]
    shown: list[dict[str, Tensor]]
    output_SD: Tensor
    rotary: Rotary


@dataclass(frozen=True)
class _Logits:
    """Target logits, their gradients with respect to the final norm's input, and the frozen directions d."""

    z_N: Tensor
    gradient_ND: Tensor
    direction_ND: Tensor


@torch.no_grad()
def attribute(model: PreTrainedModel, modules: list[Module], passages: list[Passage]) -> Attribution:
    """Scores of all neurons of `modules` for every target of the passages."""
    packing = Packing.of(passages)
    trace = _run(model, passages)
    y_N = torch.tensor([y for passage in passages for y in passage.y])
    logits = _target_logits(model, trace.output_SD, packing, y_N)
    first_SD = trace.inputs_SD[0]
    direction_ND = logits.direction_ND.to(first_SD.device)
    embedding_ND = first_SD[packing.at_N.to(first_SD.device)].float()
    total_N = _bias(model.lm_head, y_N) + (embedding_ND * direction_ND).double().sum(-1).cpu()

    gradient = logits.gradient_ND
    found: dict[str, Tensor] = {}
    for n in reversed(range(len(trace.inputs_SD))):
        layer = model.model.layers[n]
        scores, written_N, gradient = _layer(layer, trace, n, gradient, logits.direction_ND, packing)
        total_N += written_N
        found |= {f"model.layers.{n}.{KINDS[kind]}.{kind}": score.to(model.device) for kind, score in scores.items()}
    scores_NM = torch.cat([found[module.name] for module in modules], dim=1)
    return Attribution(scores_NM=scores_NM, z=logits.z_N.tolist(), z_reconstructed=total_N.tolist())


def writer_scores(activation_NI: Tensor, weight_DI: Tensor, direction_ND: Tensor) -> Tensor:
    """s_i = a_i(t) <W[:, i], d(t)>, exact (equation 3), in float32. Returns [N, I].

    >>> writer_scores(torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0], [3.0, 5.0]]), torch.tensor([[1.0, 1.0]]))
    tensor([[ 8., -5.]])
    """
    return activation_NI.float() * (direction_ND @ weight_DI.float())


def _layer(
    layer: Any, trace: _Trace, n: int, gradient: Tensor, direction_ND: Tensor, packing: Packing
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Scores of layer n's seven modules, what its writers add to the logits, and the gradient of its input."""
    input_SD = trace.inputs_SD[n]
    device = input_SD.device
    packing, direction_ND = packing.to(device), direction_ND.to(device)
    rotary = Rotary(trace.rotary.cos.to(device), trace.rotary.sin.to(device))
    if trace.shown:
        seen = decoder_layer.recorded(layer, input_SD, trace.shown.pop(), rotary)  # the last one is the next
    else:
        seen = decoder_layer.replay(layer, input_SD, rotary, packing)
    back = decoder_layer.backward(layer, seen, gradient.to(device), rotary, packing)
    scores = back.scores
    written_N = torch.zeros(len(direction_ND), dtype=torch.float64, device=device)
    read = {"o_proj": seen.mixed_SO[packing.at_N], "down_proj": seen.product_NI(layer, packing.at_N)}
    for kind, activation_NI in read.items():
        linear = layer.get_submodule(f"{KINDS[kind]}.{kind}")
        scores[kind] = writer_scores(activation_NI, linear.weight, direction_ND)
        written_N += scores[kind].double().sum(-1)
        if linear.bias is not None:  # part of the reconstruction, of no neuron
            written_N += (direction_ND * linear.bias.float()).double().sum(-1)
    return scores, written_N.cpu(), back.input_RD


def _run(model: PreTrainedModel, passages: list[Passage]) -> _Trace:
    """One forward pass of the samples, each up to its last target; padded on the right, which causal models ignore."""
    length = max(passage.length for passage in passages)
    ids_BT = torch.zeros(len(passages), length, dtype=torch.long)
    real_BT = torch.zeros(len(passages), length, dtype=torch.bool)
    for row, passage in enumerate(passages):
        ids_BT[row, : passage.length] = torch.tensor(passage.input_ids[: passage.length])
        real_BT[row, : passage.length] = True
    found: list[Tensor] = []
    turns: list[tuple[Tensor, Tensor]] = []
    shown: list[dict[str, Tensor]] = []

    def pack(x_BTD: Tensor) -> Tensor:
        return x_BTD[real_BT.to(x_BTD.device)]

    def keep(_: nn.Module, args: tuple[Tensor, ...], settings: dict[str, Any]) -> None:
        found.append(pack(args[0]))
        turns.append(settings["position_embeddings"])

    layers = model.model.layers
    hooks = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers]
    hooks.append(model.model.norm.register_forward_pre_hook(lambda _, args: found.append(pack(args[0]))))
    if int(real_BT.sum()) * sum(map(decoder_layer.shown_width, layers)) * model.dtype.itemsize <= _KEPT:
        shown = [{} for _ in layers]
        for fields, layer in zip(shown, layers, strict=True):
            hooks += _show(layer, fields, pack)
    try:
        model.model(input_ids=ids_BT.to(model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    cos, sin = (turn.expand(len(passages), -1, -1)[real_BT.to(turn.device)][:, None] for turn in turns[0])
    return _Trace(found[:-1], shown, found[-1], Rotary(cos, sin))


def _show(layer: Any, fields: dict[str, Tensor], pack: Callable[[Tensor], Tensor]) -> list[RemovableHandle]:
    """Hooks that put what a layer computes into `fields`."""

    def hook(field: str, is_input: bool) -> Callable[..., None]:
        return lambda _, args, output: fields.__setitem__(field, pack(args[0] if is_input else output))

    return [
        layer.get_submodule(name).register_forward_hook(hook(field, is_input))
        for field, (name, is_input) in decoder_layer.SHOWN.items()
    ]


def _target_logits(model: PreTrainedModel, output_SD: Tensor, packing: Packing, y_N: Tensor) -> _Logits:
    """z_y(t), its gradient through the true (unfrozen) norm, and d(t) = s_RMS(t) (gamma * W_U[y])."""
    norm, head = model.model.norm, model.lm_head
    hidden_ND = output_SD[packing.at_N.to(output_SD.device)]
    unembedding_ND = head.weight[y_N.to(head.weight.device)].float().to(hidden_ND.device)
    with torch.enable_grad():
        hidden_ND = hidden_ND.detach().requires_grad_()
        z_N = (norm(hidden_ND).float() * unembedding_ND).sum(-1)
        (gradient_ND,) = torch.autograd.grad(z_N.sum(), hidden_ND)
    mean_square_N1 = hidden_ND.detach().float().pow(2).mean(-1, keepdim=True)
    scale_N1 = torch.rsqrt(mean_square_N1 + norm.variance_epsilon)
    direction_ND = scale_N1 * (norm.weight.float() * unembedding_ND)
    return _Logits(z_N.detach().double().cpu() + _bias(head, y_N), gradient_ND.float(), direction_ND)


def _bias(lm_head: nn.Linear, y_N: Tensor) -> Tensor:
    """b_y: zero for the models known here, which have no unembedding bias. float64, [N]."""
    bias = lm_head.bias
    return torch.zeros(len(y_N), dtype=torch.float64) if bias is None else bias[y_N.to(bias.device)].double().cpu()
