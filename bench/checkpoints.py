"""Random checkpoints of any size, with tokenizers and a made-up attribution: what a benchmark of rejuvenation needs."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import LlamaConfig, PreTrainedTokenizerFast

from stages.rejuvenation import architecture
from stages.rejuvenation.attribution_files import SUMMARY, ScoreWriter
from stages.rejuvenation.ranking import Ranking

SHARDS = 3

#: Of the made-up attribution: targets, and the share that each selects; together one neuron in a hundred.
TARGETS, RHO = 8, 0.00125

WIDTH, _INNER, _KEYS = 2048, 5632, 512


@dataclass(frozen=True)
class Size:
    """How large the random checkpoints are. `tokens`: of the tokenizer, whose files the two write differently."""

    layers: int
    vocabulary: int
    tokens: int

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Tensors by name, of a Llama with 2048 wide layers and untied embeddings."""
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, WIDTH)}
        of_layer: dict[str, tuple[int, ...]] = {
            "input_layernorm": (WIDTH,),
            "mlp.down_proj": (WIDTH, _INNER),
            "mlp.gate_proj": (_INNER, WIDTH),
            "mlp.up_proj": (_INNER, WIDTH),
            "post_attention_layernorm": (WIDTH,),
            "self_attn.k_proj": (_KEYS, WIDTH),
            "self_attn.o_proj": (WIDTH, WIDTH),
            "self_attn.q_proj": (WIDTH, WIDTH),
            "self_attn.v_proj": (_KEYS, WIDTH),
        }
        for layer in range(self.layers):
            shapes |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in of_layer.items()}
        return {**shapes, "model.norm.weight": (WIDTH,), "lm_head.weight": (self.vocabulary, WIDTH)}

    @property
    def parameters(self) -> int:
        return sum(torch.Size(shape).numel() for shape in self.shapes.values())

    @staticmethod
    def of(gigabytes: float) -> Size:
        """A checkpoint of this many gigabytes of bfloat16, most of them in its layers."""
        layer = sum(torch.Size(s).numel() for n, s in Size(1, 0, 0).shapes.items() if ".layers." in n)
        return Size(max(1, round((gigabytes * 1e9 / 2 - 2 * 32000 * WIDTH) / layer)), 32000, 1000)


def make(folder: Path, size: Size, *, seed: int) -> Path:
    """Write a random checkpoint in shards, with a tokenizer and a config."""
    folder.mkdir()
    heads = {"num_attention_heads": WIDTH // 64, "num_key_value_heads": _KEYS // 64}
    LlamaConfig(
        hidden_size=WIDTH,
        intermediate_size=_INNER,
        num_hidden_layers=size.layers,
        vocab_size=size.vocabulary,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
        **heads,
    ).save_pretrained(folder)
    tokenizer(size.tokens).save_pretrained(folder)
    text = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(text, indent=seed))  # so that it has to be compared
    draw = torch.Generator().manual_seed(seed)
    shards: list[dict[str, torch.Tensor]] = []
    places, written = {}, 0
    for name, shape in size.shapes.items():
        if written >= size.parameters * len(shards) / SHARDS:
            _save(folder, shards)
            shards.append({})
        shards[-1][name] = torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=draw)
        places[name] = _shard(len(shards))
        written += shards[-1][name].numel()
    _save(folder, shards)
    index = {"metadata": {"total_size": 2 * size.parameters}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def _save(folder: Path, shards: list[dict[str, torch.Tensor]]) -> None:
    """Write the last shard and forget its tensors."""
    if shards:
        save_file(shards[-1], folder / _shard(len(shards)), metadata={"format": "pt"})
        shards[-1] = {}


def _shard(number: int) -> str:
    return f"model-{number:05d}-of-{SHARDS:05d}.safetensors"


def tokenizer(tokens: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with random merges: to load it takes what a real one of its size takes."""
    draw = random.Random(0)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    ids = {token: n for n, token in enumerate(["<eos>", "<pad>", *letters])}
    merges, usable = [], list(letters)
    while len(ids) < tokens:
        left, right = draw.choice(usable), draw.choice(usable)
        if len(left + right) <= 12 and left + right not in ids:
            ids[left + right] = len(ids)
            merges.append((left, right))
            usable.append(left + right)
    model = Tokenizer(BPE(vocab=ids, merges=merges))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<eos>", pad_token="<pad>")


def attribution(folder: Path, size: Size) -> Path:
    """A made-up attribution: random scores for every target."""
    folder.mkdir()
    modules = architecture.modules(size.shapes, size.layers)
    neurons = sum(module.neurons for module in modules)
    ranking = Ranking(modules, "model", "positive")
    with ScoreWriter(folder, ranking, keep=RHO) as writer:
        writer.write(torch.randn(TARGETS, neurons, generator=torch.Generator().manual_seed(0)))
    summary = {"neurons": neurons, "keep": RHO, "modules": list(architecture.KINDS)}
    (folder / SUMMARY).write_text(json.dumps({**summary, "ranking": "model", "sign": "positive", "tie_band": 1e-4}))
    return folder


def study(folder: Path, size: Size) -> Path:
    """A folder with `base`, `sft` and `attribution`."""
    folder.mkdir()
    for seed, name in enumerate(("base", "sft"), start=1):
        make(folder / name, size, seed=seed)
    attribution(folder / "attribution", size)
    return folder
