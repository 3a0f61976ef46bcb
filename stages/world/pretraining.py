"""Pretraining of the small base: a plain loop over text that is drawn as it is needed, resumable at any step.

The rows of step s depend on (seed, s) alone, so a restart needs the model, the optimizers and the step, no data state.
Muon takes the matrices inside the layers and AdamW the rest: at this size that needs half the steps of AdamW alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stages.contract import Context, Interrupted, StageError
from stages.modeling.bfloat16 import fast_products
from stages.modeling.checkpoint import DTYPES, device
from stages.pretrain import POSITIONS
from stages.training import state
from stages.world.texts import Texts

#: Share of the steps over which the learning rate rises from 0; then it falls linearly to 0.
WARMUP = 0.05
#: Of the matrices inside the layers; embeddings and norms have none.
WEIGHT_DECAY = 0.1
#: Of AdamW.
BETAS = (0.9, 0.98)
CLIP = 1.0
#: Steps between two saves of the unfinished training.
SAVE_EVERY = 100
#: The unfinished training, in the work folder; replaced atomically.
SAVED = "training.pt"


@dataclass(frozen=True, kw_only=True)
class Shape:
    layers: int
    width: int
    mlp: int
    heads: int
    kv_heads: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`batch` rows of `length` tokens a step; `learning_rate` is the peak; `dtype` is what products are computed in."""

    seed: int
    steps: int
    batch: int
    length: int
    learning_rate: float
    dtype: str


def build(tokenizer: PreTrainedTokenizerFast, shape: Shape, seed: int) -> LlamaForCausalLM:
    """A Llama with random float32 weights drawn from `seed`, on this process's device."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).to(device())  # type: ignore[arg-type]  # its decorator hides self from mypy


def rows(recipe: Recipe, texts: Texts, tokenizer: PreTrainedTokenizerFast, step: int) -> Tensor:
    """Token ids (batch, length) of `step`: every row begins with a document and is cut where it is full."""
    random = Random(f"text {recipe.seed} {step}")
    return torch.tensor([_row(random, texts, tokenizer, recipe.length) for _ in range(recipe.batch)])


def _row(random: Random, texts: Texts, tokenizer: PreTrainedTokenizerFast, length: int) -> list[int]:
    ids: list[int] = []
    while len(ids) < length:
        ids += [*tokenizer(texts.document(random))["input_ids"], tokenizer.eos_token_id]
    return ids[:length]


def train(model: LlamaForCausalLM, recipe: Recipe, batch_of: Callable[[int], Tensor], context: Context) -> float:
    """Train `model` in place, from the step that is saved in `context.work`, if one is; returns the last loss.

    Args:
        batch_of: step -> token ids (batch, length).

    Raises:
        Interrupted: the stage was asked to stop before the last step, and has saved.
    """
    optimizers = _optimizers(model)
    parts: dict[str, Any] = {"model": model, **optimizers}
    done, loss = _resume(context, parts)
    model.train()
    for step in range(done, recipe.steps):
        rate = recipe.learning_rate * _factor(step, recipe.steps)
        loss = _step(model, optimizers.values(), rate, batch_of(step).to(model.device), recipe.dtype)
        done = step + 1
        context.progress.update(done, recipe.steps, loss=loss)
        context.log("train", {"step": done, "loss": loss})
        stopping = context.stopping() and done < recipe.steps
        if stopping or done % SAVE_EVERY == 0:
            _save(context, parts, done, loss)
        if stopping:
            raise Interrupted(f"saved at step {done} of {recipe.steps}")
    return loss


def _step(model: LlamaForCausalLM, optimizers: Iterable[Optimizer], rate: float, ids: Tensor, dtype: str) -> float:
    with torch.autocast(ids.device.type, DTYPES[dtype], enabled=dtype != "float32"):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        with fast_products(ids.device):  # Muon's, which are bfloat16 whatever the model is
            optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def _optimizers(model: LlamaForCausalLM) -> dict[str, Optimizer]:
    """Muon for the matrices inside the layers, its updates scaled so that one rate fits both; AdamW for the rest."""
    inside = {name: p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name}
    others = [p for name, p in model.named_parameters() if name not in inside]
    return {
        "muon": torch.optim.Muon(inside.values(), weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        "adamw": torch.optim.AdamW(others, betas=BETAS, weight_decay=0.0),
    }


def _factor(step: int, steps: int) -> float:
    warmup = max(1, round(WARMUP * steps))
    return min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))


def _save(context: Context, parts: dict, step: int, loss: float) -> None:
    file = context.work / SAVED
    draft = file.with_name(file.name + ".draft")
    torch.save({"step": step, "loss": loss} | {name: part.state_dict() for name, part in parts.items()}, draft)
    draft.replace(file)
    context.saved.record(step)


def _resume(context: Context, parts: dict) -> tuple[int, float]:
    """Put back what is saved; returns (steps done, loss), which are (0, nan) if nothing is."""
    file = context.work / SAVED
    saved = state.load(file) if file.exists() else None
    lost = context.saved.lost(None if saved is None else saved["step"])
    if lost is not None:
        raise StageError(lost)
    if saved is None:
        return 0, float("nan")
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return saved["step"], saved["loss"]
