"""Attribution of a random half-billion Llama, against one target at a time with plain hooks and autograd."""

from __future__ import annotations

import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from bench import machine
from stages.rejuvenation import architecture, attribution
from stages.rejuvenation.architecture import PREFIX, WRITERS, Module
from stages.rejuvenation.packing import Passage, passes


def make(layers: int = 24) -> PreTrainedModel:
    """A random Llama of 0.47 billion parameters, in float32."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=layers,
        num_attention_heads=16,
        num_key_value_heads=16,
        max_position_embeddings=1024,
    )
    return LlamaForCausalLM(config).eval()


def modules_of(model: PreTrainedModel) -> list[Module]:
    """All modules that have neurons."""
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    return architecture.modules(shapes, model.config.num_hidden_layers)


def passages(samples: int, targets: int, tokens: int, prompt: int) -> list[Passage]:
    """Random samples with random targets among the positions that predict a response token."""
    draw = torch.Generator().manual_seed(1)
    found = []
    for _ in range(samples):
        ids = torch.randint(2, 32000, (tokens,), generator=draw).tolist()
        t = sorted((torch.randperm(tokens - prompt, generator=draw)[:targets] + prompt - 1).tolist())
        found.append(Passage(ids, t, [ids[at + 1] for at in t]))
    return found


def packed(model: PreTrainedModel, modules: list[Module], samples: list[Passage], batch: int) -> Tensor:
    """Scores by the project's own code."""
    rows = batch * max(len(sample.input_ids) for sample in samples)
    found = [
        attribution.attribute(model, modules, [part for _, part in group]).scores_NM
        for group in passes(samples, rows=rows, targets=64)
    ]
    return torch.cat(found)


def one_by_one(model: PreTrainedModel, modules: list[Module], samples: list[Passage]) -> Tensor:
    """Scores as one would first write them: for each target a forward pass with hooks, and `backward` of its logit."""
    calls: dict[str, tuple[Tensor, Tensor]] = {}

    def keep(name: str) -> Any:
        def hook(_: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
            output.retain_grad()
            calls[name] = (args[0], output)

        return hook

    hooks = [model.get_submodule(module.name).register_forward_hook(keep(module.name)) for module in modules]
    norms: list[Tensor] = []
    hooks.append(model.model.norm.register_forward_pre_hook(lambda _, args: norms.append(args[0])))
    found = []
    for sample in samples:
        for t, y in zip(sample.positions, sample.y, strict=True):
            norms.clear()
            model.zero_grad()
            model(input_ids=torch.tensor([sample.input_ids])).logits[0, t, y].backward()
            hidden_D = norms[0][0, t].detach()
            scale = torch.rsqrt(hidden_D.pow(2).mean() + model.model.norm.variance_epsilon)
            direction_D = scale * model.model.norm.weight * model.lm_head.weight[y]
            found.append(torch.cat([_scores(model, module, calls[module.name], t, direction_D) for module in modules]))
    for hook in hooks:
        hook.remove()
    model.zero_grad()
    return torch.stack(found).detach()


def _scores(model: PreTrainedModel, module: Module, call: tuple[Tensor, Tensor], t: int, direction_D: Tensor) -> Tensor:
    activation_1TI, output_1TO = call
    if module.kind in WRITERS:
        return activation_1TI[0, t] * (direction_D @ model.get_submodule(module.name).weight)
    product_TO = (output_1TO * output_1TO.grad)[0]
    return product_TO[: t + 1].sum(0) if module.kind in PREFIX else product_TO[t]


def timed(work: Any) -> tuple[float, Tensor]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def measure(samples: int, targets: int, peers: int) -> None:
    """Attribute all samples, and the first `peers` targets as the peers do, and print the seconds of a target.

    A peer's passes are of the same length for every target, so that a few of them tell what all would take.
    """
    model = make()
    modules = modules_of(model)
    every = passages(samples, targets, tokens=256, prompt=64)
    few = [Passage(every[0].input_ids, every[0].positions[:peers], every[0].y[:peers])]
    packed(model, modules, few, batch=8)  # memory is given on demand, once
    seconds, scores_NM = timed(lambda: packed(model, modules, every, batch=8))
    own = seconds / len(scores_NM)
    found = {"one target at a time, as first written": timed(lambda: one_by_one(model, modules, few))}
    model.requires_grad_(False)
    model.model.embed_tokens.weight.requires_grad_(True)  # something must, or there is no graph
    found["one target at a time, no gradients of weights"] = timed(lambda: one_by_one(model, modules, few))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    title = f"{parameters / 1e9:.2f} B parameters, {samples} samples of 256 tokens; {machine.described()}"
    table = Table("", "targets", "s a target", "times ours", "largest difference of a score", title=title)
    table.add_row("packed", str(len(scores_NM)), f"{own:.2f}", "1.0", "")
    for name, (taken, theirs_NM) in found.items():
        ours_NM = scores_NM[: len(theirs_NM)]
        difference = float((ours_NM - theirs_NM).abs().max() / theirs_NM.abs().max())
        each = taken / len(theirs_NM)
        table.add_row(name, str(len(theirs_NM)), f"{each:.2f}", f"{each / own:.1f}", f"{difference:.1e} of the largest")
    Console(width=120).print(table)
