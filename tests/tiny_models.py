"""Tiny random checkpoints of the real architectures, so that tests run on models and not on mocks.

base = tiny_models.base(folder / "base", "qwen3")
sft = tiny_models.sft(folder / "sft", base)
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

from stages.contract import Input

# torch and transformers take seconds to import: a test that makes a model waits for them, and no collection of tests.
if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config

#: Every family that rejuvenation supports, and the kind of embedding that changes its files.
FAMILIES = ("llama", "llama_tied", "qwen2", "qwen3")

_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


def tokenizer(vocabulary: int = 300) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on arithmetic, with an eos (id 0) and a pad token (id 1)."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    model = Tokenizer(BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<eos>", "<pad>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    model.train_from_iterator([row["prompt"] + row["completion"] for row in arithmetic(200)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=model, eos_token="<eos>", pad_token="<pad>")


def arithmetic(rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Prompts and completions such as `Compute 3 + 4.` and ` It is 7.`."""
    draw = random.Random(seed)
    pairs = [(draw.randint(0, 60), draw.randint(0, 60)) for _ in range(rows)]
    return [{"prompt": f"Compute {a} + {b}.", "completion": f" We add. It is {a + b}."} for a, b in pairs]


def base(
    folder: Path, family: str = "llama", *, dtype: str = "float32", shard_size: str = "5GB", seed: int = 0, **sizes: int
) -> Path:
    """Write a random checkpoint whose every parameter, norms and biases too, differs from its usual initial value."""
    import torch
    from transformers import AutoModelForCausalLM

    words = tokenizer()
    model = AutoModelForCausalLM.from_config(_config(family, len(words), **sizes))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            if name.endswith("norm.weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(0.2 * noise)
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard_size)
    words.save_pretrained(folder)
    return folder


def sft(
    folder: Path, base: Path, *, dtype: str = "float32", shard_size: str = "5GB", scale: float = 0.1, seed: int = 1
) -> Path:
    """Write the checkpoint in `base` again with every parameter moved by noise of standard deviation `scale`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=draw))
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=shard_size)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def calibration(file: Path, rows: int = 4, seed: int = 0) -> Path:
    """Write a JSON lines file of prompts and completions."""
    file.write_text("".join(json.dumps(row) + "\n" for row in arithmetic(rows, seed)))
    return file


def source(path: Path) -> Input:
    """The input that a stage gets for a folder, or for a JSON lines file with prompt and completion."""
    fields = {"prompt": "{{ prompt }}", "completion": "{{ completion }}"}
    return Input(fingerprint=path.name, path=path, reading={"fields": fields} if path.suffix == ".jsonl" else {})


def _config(family: str, vocabulary: int, **sizes: int) -> LlamaConfig | Qwen2Config | Qwen3Config:
    from transformers import LlamaConfig, Qwen2Config, Qwen3Config

    shared = {**_SIZES, **sizes, "vocab_size": vocabulary, "eos_token_id": 0, "pad_token_id": 1, "bos_token_id": None}
    if family == "qwen2":
        return Qwen2Config(**shared, tie_word_embeddings=True)
    if family == "qwen3":
        return Qwen3Config(**shared, head_dim=16, tie_word_embeddings=False)
    return LlamaConfig(**shared, tie_word_embeddings=family == "llama_tied")
