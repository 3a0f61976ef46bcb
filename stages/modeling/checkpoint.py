"""Loading and saving of models and tokenizers in Hugging Face layout (`model/` in a checkpoint artifact)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from stages import remote_code, weight_files
from stages.contract import Input, StageError
from stages.modeling import loading

#: The dtypes that a Config may name.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def device() -> torch.device:
    """The device of this process: its GPU if it was given one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_model(source: Input, *, dtype: str, spread: bool = False) -> PreTrainedModel:
    """The causal language model of `source`, parameters in `dtype`, in eval mode, on this process's device.

    `spread` puts its layers on all GPUs of the process, where there are several.

    Raises:
        StageError: its files are damaged or contradict each other, or a parameter would not be the checkpoint's.
    """
    placed: dict[str, Any] = {"device_map": "auto"} if spread and torch.cuda.device_count() > 1 else {}
    if source.path is not None:
        remote_code.refuse(Path(source.model))
    if source.path is not None and not loading.pickled(Path(source.model)):
        weight_files.config(Path(source.model))
        weight_files.find(Path(source.model))
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source.model,
            revision=source.revision,
            dtype=DTYPES[dtype],
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, with their names
            trust_remote_code=False,
            **placed,
        )
    except pickle.UnpicklingError:  # whose words tell how to run it all the same
        raise StageError(
            f"{source.model}: its weights are a pickle of more than tensors, which is not loaded; take safetensors"
        ) from None
    except (OSError, ValueError) as error:  # what transformers raises for a missing or foreign checkpoint
        raise StageError(f"{source.model}: not a loadable checkpoint: {error}") from None
    model, info = loaded
    loading.refuse(source.model, type(model).__name__, info)
    if not placed:
        model.to(device())  # the decorator on `to` hides its self from mypy
    return model.eval()


def load_tokenizer(source: Input, *, ends: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of `source`, padding on the left (as generation needs it), with a pad token.

    `ends`: whether it needs an eos, with which every response that is trained on, or attributed, ends.

    Raises:
        StageError: it cannot be loaded, or has no eos.
    """
    if source.path is not None:
        remote_code.refuse(Path(source.model))
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source.model, revision=source.revision, padding_side="left", trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise StageError(f"{source.model}: no loadable tokenizer: {error}") from None
    if ends and tokenizer.eos_token_id is None:
        raise StageError(
            f"{source.model}: its tokenizer has no eos, with which every response ends; name one in "
            "tokenizer_config.json (eos_token)"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def refuse_rowless(place: str, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Refuse an eos or pad token whose id the embedding, of so many `rows`, has none for.

    Raises:
        StageError: there is such a token.
    """
    for name in ("eos_token", "pad_token"):
        id = getattr(tokenizer, f"{name}_id")
        if isinstance(id, int) and id >= rows:
            raise StageError(
                f"{place}: {name} is {getattr(tokenizer, name)!r} (id {id}), for which its embedding of {rows} rows "
                "has none; name another one in tokenizer_config.json"
            )


def save_checkpoint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, artifact: Path) -> None:
    """Write `artifact/model/`: safetensors, config and tokenizer."""
    model.save_pretrained(artifact / "model")
    tokenizer.save_pretrained(artifact / "model")
