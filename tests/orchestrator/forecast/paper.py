"""EvoLM-4B and the paper's recipe for it, in numbers that a test can count on whatever conf/ says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator import config
from orchestrator.forecast import tensors

#: The parameters of EvoLM-4B.
P = 4_000_288_768

#: EvoLM-4B, as a config.json says it.
EVOLM: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 7792,
    "num_hidden_layers": 28,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}

#: What is counted with.
RECIPE = [
    *("sft.batch=256", "sft.max_length=2048", "sft.samples=100000", "sft.dtype=float32"),
    *("grpo.rollouts=200", "grpo.prompts=512", "grpo.completions=8", "grpo.mini_batch=128", "grpo.passes=1"),
    *("grpo.beta=0.001", "grpo.max_prompt=512", "grpo.max_new_tokens=1024", "grpo.dynamic_sampling=false"),
    *("grpo.max_draws=10", "grpo.validate_every=50", "grpo.validation_problems=512", "grpo.validation_samples=1"),
    *("grpo.engine=vllm", "grpo.engine_dtype=bfloat16", "grpo.dtype=float32", "grpo.compute_dtype=bfloat16"),
    *("evaluate.engine=vllm", "evaluate.dtype=bfloat16", "evaluate.max_new_tokens=1024"),
    *("attribute.samples=64", "attribute.targets_per_sample=16", "attribute.keep=0.1", "attribute.dtype=float32"),
    *("diagnose.samples=64", "diagnose.sharpness_samples=16", "diagnose.directions=4", "diagnose.dtype=float32"),
]

#: A training has eight GPUs of 80 GB, everything else one or none; nothing is cut, and an engine has 0.3 of its GPU.
EIGHT = [
    "cluster=slurm",
    "++cluster.classes.gpu={gpus: 1, per_device_batch: 8, gpu_memory: 80}",
    "++cluster.classes.train={gpus: 8, per_device_batch: 8, sharding: none, engine_memory: 0.3, sleep: false}",
    "++cluster.classes.train.gpu_memory=80",
]


def recipe(epochs: int = 2) -> dict[str, Any]:
    """Stage -> its fields, of the paper's mathematics study."""
    return config.compose(["+experiment=evolm_math", *RECIPE, f"sft.epochs={epochs}"]).config


def weights(file: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16", width: int = 2) -> None:
    """Write a safetensors file of zeros, `width` bytes each, which takes no room on the disk whatever the shapes."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + width * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)


def study(tmp_path: Path, *overrides: str, base: Path | None = None) -> list[str]:
    """The paper's study of a model in a folder. The data sets of the hub are missing, which blocks it, and no more."""
    found = base or tmp_path / "base"
    if not found.exists():
        model(found)
    return ["+experiment=evolm_math", "benchmark=[]", f"base={found}", f"store={tmp_path}/store", *overrides]


def model(place: Path, tokens: dict[str, int] | None = None, ends: str = "</s>", **fields: Any) -> Path:
    """The folder of a model of EvoLM-4B's shape, or of another; those of its `tokens` that are words are learned."""
    place.mkdir(parents=True)
    config = {**EVOLM, **fields}
    (place / "config.json").write_text(json.dumps(config))
    weights(place / "model.safetensors", tensors.expected(config))
    every = {"</s>": 2, **(tokens or {})}
    added = [{"id": id, "content": text} for text, id in every.items() if not text.isalpha()]
    learned = {text: id for text, id in every.items() if text.isalpha()}
    (place / "tokenizer.json").write_text(json.dumps({"added_tokens": added, "model": {"vocab": learned}}))
    (place / "tokenizer_config.json").write_text(json.dumps({"eos_token": ends}))
    return place
