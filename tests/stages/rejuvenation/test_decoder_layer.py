"""The written-out layer against autograd through transformers' own layer, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.rejuvenation import decoder_layer
from stages.rejuvenation.decoder_layer import Rotary
from stages.rejuvenation.packing import Packing, Passage
from tests import tiny_models

READERS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")


def sliding(folder: Path) -> Path:
    """A Qwen2 whose layers see four tokens back."""
    return tiny_models.base(folder, "qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=0)


@pytest.fixture(params=[*tiny_models.FAMILIES, "sliding", "biased"])
def layer(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, Any]:
    """A model and its first layer, in float64."""
    if request.param == "sliding":
        folder = sliding(tmp_path / "base")
    elif request.param == "biased":
        folder = tiny_models.base(tmp_path / "base", attention_bias=True, mlp_bias=True)
    else:
        folder = tiny_models.base(tmp_path / "base", request.param)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, attn_implementation="eager")
    return model, model.model.layers[0]


def test_gradients_and_scores_equal_autograds(layer: tuple[Any, Any]) -> None:
    model, module = layer
    passages = [Passage([5] * 9, [2, 7], [0, 0]), Passage([5] * 5, [0, 3], [0, 0])]
    packing = Packing.of(passages)
    draw = torch.Generator().manual_seed(0)
    width = model.config.hidden_size
    hidden_SD = torch.randn(sum(packing.lengths), width, generator=draw, dtype=torch.float64)
    upstream_RD = torch.randn(len(packing.token_R), width, generator=draw)
    rotary = _rotary(model, packing)
    seen = decoder_layer.replay(module, hidden_SD, rotary, packing)
    found = decoder_layer.backward(module, seen, upstream_RD, rotary, packing)
    for target, (sample, t) in enumerate(zip(packing.sample, packing.t, strict=True)):
        rows = slice(packing.starts[target], packing.starts[target] + t + 1)
        input_TD = hidden_SD[packing.spans[sample]][: t + 1].clone().requires_grad_()
        gradient_TD, scores = _by_autograd(model, module, input_TD, upstream_RD[rows].double())
        assert torch.allclose(found.input_RD[rows].double(), gradient_TD, rtol=1e-4, atol=1e-4)
        for kind, expected in scores.items():
            assert torch.allclose(found.scores[kind][target].double(), expected, rtol=1e-4, atol=1e-4), kind


def test_a_gradient_at_the_targets_alone_is_one_that_is_zero_elsewhere(layer: tuple[Any, Any]) -> None:
    model, module = layer
    packing = Packing.of([Passage([5] * 9, [2, 7], [0, 0]), Passage([5] * 5, [3], [0])])
    draw = torch.Generator().manual_seed(0)
    hidden_SD = torch.randn(sum(packing.lengths), model.config.hidden_size, generator=draw, dtype=torch.float64)
    at_targets_ND = torch.randn(len(packing.t), model.config.hidden_size, generator=draw)
    everywhere_RD = torch.zeros(len(packing.token_R), model.config.hidden_size)
    everywhere_RD[packing.last_N] = at_targets_ND
    rotary = _rotary(model, packing)
    seen = decoder_layer.replay(module, hidden_SD, rotary, packing)
    one, two = (decoder_layer.backward(module, seen, g, rotary, packing) for g in (at_targets_ND, everywhere_RD))
    assert torch.allclose(one.input_RD, two.input_RD, rtol=1e-5, atol=1e-6)
    for kind in READERS:
        assert torch.allclose(one.scores[kind], two.scores[kind], rtol=1e-5, atol=1e-6), kind


def _rotary(model: Any, packing: Packing) -> Rotary:
    positions = torch.cat([torch.arange(length) for length in packing.lengths])
    cos, sin = model.model.rotary_emb(torch.zeros(1, dtype=torch.float64), positions[None])
    return Rotary(cos[0][:, None], sin[0][:, None])


def _by_autograd(
    model: Any, layer: Any, input_TD: torch.Tensor, upstream_TD: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Gradient of the input, and gradient x output of the readers: at the last position, or summed over all."""
    outputs: dict[str, torch.Tensor] = {}
    places = {kind: layer.mlp if kind in ("gate_proj", "up_proj") else layer.self_attn for kind in READERS}
    hooks = [
        getattr(places[kind], kind).register_forward_hook(
            lambda _, __, output, kind=kind: outputs.update({kind: output})
        )
        for kind in READERS
    ]
    length = len(input_TD)
    positions = torch.arange(length)
    distance = positions[:, None] - positions
    window = getattr(layer.self_attn, "sliding_window", None) or length
    mask = torch.zeros(length, length, dtype=torch.float64).masked_fill((distance < 0) | (distance >= window), -1e9)
    rotation = model.model.rotary_emb(input_TD, positions[None])
    output_1TD = layer(input_TD[None], attention_mask=mask[None, None], position_embeddings=rotation)
    output_1TD = output_1TD[0] if isinstance(output_1TD, tuple) else output_1TD
    gradient_TD, *others = torch.autograd.grad(
        output_1TD, [input_TD, *(outputs[kind] for kind in READERS)], upstream_TD.view_as(output_1TD)
    )
    for hook in hooks:
        hook.remove()
    scores = {}
    for kind, gradient in zip(READERS, others, strict=True):
        product_TO = (gradient * outputs[kind])[0].detach()
        scores[kind] = product_TO.sum(0) if kind in ("k_proj", "v_proj") else product_TO[-1]
    return gradient_TD, scores
