"""Loading and saving of models and tokenizers in Hugging Face layout (`model/` in a checkpoint artifact)."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from stages.contract import Input, StageError

#: The dtypes that a Config may name.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def device() -> torch.device:
    """The device of this process: its GPU if it was given one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model(source: Input, *, dtype: str, spread: bool = False) -> PreTrainedModel:
    """The causal language model of `source`, parameters in `dtype`, in eval mode, on this process's device.

    `spread` puts its layers on all GPUs of the process, where there are several.
    """
    placed = {"device_map": "auto"} if spread and torch.cuda.device_count() > 1 else {}
    try:
        model = AutoModelForCausalLM.from_pretrained(
            source.model, revision=source.revision, dtype=DTYPES[dtype], **placed
        )
    except (OSError, ValueError) as error:  # what transformers raises for a missing or foreign checkpoint
        raise StageError(f"{source.model}: not a loadable checkpoint: {error}") from None
    if not placed:
        model.to(device())  # type: ignore[arg-type]  # the decorator on `to` hides its self from mypy
    return model.eval()


def load_tokenizer(source: Input) -> PreTrainedTokenizerBase:
    """The tokenizer of `source`, padding on the left (as generation needs it), with a pad token."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(source.model, revision=source.revision, padding_side="left")
    except (OSError, ValueError) as error:
        raise StageError(f"{source.model}: no loadable tokenizer: {error}") from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, artifact: Path) -> None:
    """Write `artifact/model/`: safetensors, config and tokenizer."""
    model.save_pretrained(artifact / "model")
    tokenizer.save_pretrained(artifact / "model")
