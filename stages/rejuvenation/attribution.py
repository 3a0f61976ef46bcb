"""Step 2 (section 3.4.1): how much each neuron contributes to the logit of a target token.

Suffixes name the axes: N targets of one sample, T positions, D residual width, V vocabulary, M all neurons of the
model in the order of `architecture.modules`.

One forward pass keeps only the input of every layer. Then each layer is run once more, alone, with its graph, and the
gradients of all N logits go back through it together: no gradient of a weight is ever formed, and no graph is larger
than one layer. Positions after the last target are cut off, since a causal model cannot look there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from stages.rejuvenation.architecture import KINDS, PREFIX, WRITERS, Module


@dataclass(frozen=True)
class Attribution:
    """Scores of the targets of one sample; axis 0 is the target.

    `z` is the true logit of the target token, `z_reconstructed` the sum of all writes to the residual stream
    projected on d (equation 2): its distance from `z` shows how tight the decomposition is.
    """

    scores_NM: Tensor
    z: list[float]
    z_reconstructed: list[float]


@dataclass(frozen=True)
class _Trace:
    """What each layer was called with: `inputs_1TD[n]` and `settings[n]` are layer n's; `output_TD` feeds the norm."""

    inputs_1TD: list[Tensor]
    settings: list[dict[str, Any]]
    output_TD: Tensor


@dataclass(frozen=True)
class _Logits:
    """Target logits, their gradients with respect to the final norm's input, and the frozen directions d."""

    z_N: Tensor
    gradient_ND: Tensor
    direction_ND: Tensor


def prepare(model: PreTrainedModel) -> PreTrainedModel:
    """Freeze the parameters, and use the attention whose backward pass batches over targets."""
    model.requires_grad_(False)
    model.set_attn_implementation("eager")
    return model


def attribute(model: PreTrainedModel, modules: list[Module], input_ids: list[int], positions: list[int]) -> Attribution:
    """Scores of all neurons at the ascending `positions` t of one sample, for the logits of x_{t+1}."""
    at = torch.tensor(positions, device=model.device)
    y_N = torch.tensor([input_ids[t + 1] for t in positions], device=model.device)
    trace = _run(model, input_ids[: positions[-1] + 1])
    logits = _target_logits(model, trace.output_TD[at], y_N)
    embedding_ND = trace.inputs_1TD[0][0, at].float()
    total_N = _bias(model.lm_head, y_N) + (embedding_ND * logits.direction_ND).double().sum(-1)

    gradient_N1TD = trace.output_TD.new_zeros(len(positions), 1, *trace.output_TD.shape)
    gradient_N1TD[torch.arange(len(positions), device=at.device), 0, at] = logits.gradient_ND
    found: dict[str, Tensor] = {}
    for n in reversed(range(len(trace.inputs_1TD))):
        layer = model.model.layers[n]
        with _recording(layer) as calls:
            gradient_N1TD, gradients = _backward(layer, trace.inputs_1TD[n], trace.settings[n], calls, gradient_N1TD)
        for kind, place in KINDS.items():
            name = f"model.layers.{n}.{place}.{kind}"
            if kind in WRITERS:
                linear = layer.get_submodule(f"{place}.{kind}")
                assert isinstance(linear, nn.Linear)
                found[name] = writer_scores(calls[kind].input_1TI[0, at], linear.weight, logits.direction_ND)
                total_N += found[name].double().sum(-1) + _written_bias(linear, logits.direction_ND)
            else:
                found[name] = proxy_scores(calls[kind].output_1TO[0], gradients[kind][:, 0], at, prefix=kind in PREFIX)
    scores_NM = torch.cat([found[module.name] for module in modules], dim=1)
    return Attribution(scores_NM=scores_NM, z=logits.z_N.tolist(), z_reconstructed=total_N.tolist())


def writer_scores(activation_NI: Tensor, weight_DI: Tensor, direction_ND: Tensor) -> Tensor:
    """s_i = a_i(t) <W[:, i], d(t)>, exact (equation 3), in float32. Returns [N, I].

    >>> writer_scores(torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 0.0], [3.0, 5.0]]), torch.tensor([[1.0, 1.0]]))
    tensor([[ 8., -5.]])
    """
    return activation_NI.float() * (direction_ND @ weight_DI.float())


def proxy_scores(output_TO: Tensor, gradient_NTO: Tensor, at: Tensor, *, prefix: bool) -> Tensor:
    """Gradient x output at the target, or summed over positions 0..t for what later positions read. Returns [N, O].

    The causal mask makes the gradient at positions after t exactly zero, so the sum over all T is the sum over 0..t.
    """
    if prefix:
        return torch.einsum("nto,to->no", gradient_NTO.float(), output_TO.float())
    rows = torch.arange(len(at), device=at.device)
    return gradient_NTO[rows, at].float() * output_TO[at].float()


@torch.no_grad()
def _run(model: PreTrainedModel, input_ids: list[int]) -> _Trace:
    """One forward pass of one sample up to the last layer."""
    calls: list[tuple[Tensor, dict[str, Any]]] = []
    outputs: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, kwargs: calls.append((args[0], kwargs)), with_kwargs=True)
        for layer in model.model.layers
    ]
    hooks.append(model.model.norm.register_forward_pre_hook(lambda _, args: outputs.append(args[0][0])))
    try:
        model.model(input_ids=torch.tensor([input_ids], device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return _Trace([call[0] for call in calls], [call[1] for call in calls], outputs[0])


def _target_logits(model: PreTrainedModel, hidden_ND: Tensor, y_N: Tensor) -> _Logits:
    """z_y(t), its gradient through the true (unfrozen) norm, and d(t) = s_RMS(t) (gamma * W_U[y])."""
    norm = model.model.norm
    unembedding_ND = model.lm_head.weight[y_N].float()
    hidden_ND = hidden_ND.detach().requires_grad_()
    z_N = (norm(hidden_ND).float() * unembedding_ND).sum(-1)
    (gradient_ND,) = torch.autograd.grad(z_N.sum(), hidden_ND)
    mean_square_N1 = hidden_ND.detach().float().pow(2).mean(-1, keepdim=True)
    scale_N1 = torch.rsqrt(mean_square_N1 + norm.variance_epsilon)
    direction_ND = scale_N1 * (norm.weight.float() * unembedding_ND)
    return _Logits(z_N.detach().double() + _bias(model.lm_head, y_N), gradient_ND, direction_ND)


@dataclass
class _Call:
    input_1TI: Tensor
    output_1TO: Tensor


@contextmanager
def _recording(layer: nn.Module) -> Iterator[dict[str, _Call]]:
    """Record input and output of the layer's seven linear modules, by kind."""
    calls: dict[str, _Call] = {}

    def record(kind: str) -> Any:
        return lambda _, args, output: calls.__setitem__(kind, _Call(args[0], output))

    hooks = [
        layer.get_submodule(f"{place}.{kind}").register_forward_hook(record(kind)) for kind, place in KINDS.items()
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def _backward(
    layer: nn.Module, input_1TD: Tensor, settings: dict[str, Any], calls: dict[str, _Call], gradient_N1TD: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run a layer again and take the N gradients from its output to its input and to its readers' outputs.

    The outputs are those of the linear layers themselves: before RoPE and before the q/k norms, after the bias.
    """
    input_1TD = input_1TD.detach().requires_grad_()
    with torch.enable_grad():
        output_1TD = layer(input_1TD, **settings)
    readers = [kind for kind in KINDS if kind not in WRITERS]
    wanted = [input_1TD, *(calls[kind].output_1TO for kind in readers)]
    first, *others = torch.autograd.grad(output_1TD, wanted, gradient_N1TD, is_grads_batched=True)
    for call in calls.values():
        call.input_1TI, call.output_1TO = call.input_1TI.detach(), call.output_1TO.detach()
    return first, dict(zip(readers, others, strict=True))


def _bias(lm_head: nn.Linear, y_N: Tensor) -> Tensor:
    """b_y: zero for the models known here, which have no unembedding bias. float64, [N]."""
    bias = lm_head.bias
    return torch.zeros(len(y_N), dtype=torch.float64, device=y_N.device) if bias is None else bias[y_N].double()


def _written_bias(linear: nn.Linear, direction_ND: Tensor) -> Tensor:
    """What the bias of a writer adds to the logit: part of the reconstruction, of no neuron. float64, [N]."""
    if linear.bias is None:
        return torch.zeros(len(direction_ND), dtype=torch.float64, device=direction_ND.device)
    return (direction_ND * linear.bias.float()).double().sum(-1)
