"""Whether the weights of a checkpoint are those of its model: what transformers leaves out, and does not find.

transformers loads whatever has the right name, fills the rest with random numbers and goes on. What it reports is an
error here. Its own exceptions are already taken out of its report: heads that are tied, rotary buffers, what the class
of the model says it ignores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils import logging

from stages import headers, remote_code, weight_files
from stages.contract import StageError

#: Names that are listed; a foreign checkpoint would fill the screen.
_LISTED = 4

#: What was reported, and what becomes of it.
_REPORTED = {
    "missing_keys": "missing, so that they would be random",
    "mismatched_keys": "of another shape than config.json says",
    "unexpected_keys": "unknown to the model, so that they would be ignored",
}


def refuse(place: str, model: str, info: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of which transformers reports anything, as `output_loading_info` gives it.

    Raises:
        StageError: with the first names of every kind.
    """
    found = {kind: sorted(map(_name, info.get(kind) or ())) for kind in _REPORTED}
    unknown = "unexpected_keys"
    found[unknown] = [name for name in found[unknown] if not name.endswith(headers.CONSTANTS)]
    parts = [f"{len(names)} {_REPORTED[kind]}: {_few(names)}" for kind, names in found.items() if names]
    if parts:
        raise StageError(
            f"{place}: its weights are not those of a {model}, which its config.json describes. Tensors that are "
            f"{'; '.join(parts)}. Take config.json and weights from one model, saved by save_pretrained"
        )


def check_headers(folder: Path) -> None:
    """Refuse a folder whose weights transformers would not load whole: told from headers, with no value read.

    For whoever reads the weights without transformers. What is quantised, or no causal language model that
    transformers knows, is left to its reader.

    Raises:
        StageError: the files are damaged or contradict each other, tensors are missing, unknown or of another shape,
            or it asks for code of its own.
    """
    remote_code.refuse(folder)
    if pickled(folder):
        return
    found = weight_files.find(folder)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError):  # a family that transformers lacks
        return
    family: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    if getattr(config, "quantization_config", None) or not hasattr(family, "from_pretrained"):
        return
    empty = {
        tensor.name: torch.empty(tensor.shape, dtype=_dtype(tensor.dtype), device="meta")
        for tensor in found.tensors.values()
    }
    said = logging.get_verbosity()
    logging.set_verbosity_error()  # its report would come before ours
    try:
        _, info = family.from_pretrained(
            None,
            config=config,
            state_dict=empty,
            device_map={"": "meta"},
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    finally:
        logging.set_verbosity(said)
    refuse(str(folder), family.__name__, info)


def pickled(folder: Path) -> bool:
    """Whether a folder has weights in pickles alone: transformers reads those, and has no headers to look at.

    Raises:
        StageError: it is the folder of an adapter.
    """
    weight_files.refuse_adapter(folder)
    usual = any((folder / name).is_file() for name in (weight_files.SINGLE, weight_files.INDEX))
    return not usual and any((folder / name).is_file() for name in weight_files.PICKLED)


def _dtype(name: str) -> torch.dtype:
    """A dtype of the right width: no value is read."""
    return {8: torch.float64, 4: torch.float32, 2: torch.bfloat16}.get(headers.BYTES.get(name, 1), torch.uint8)


def _name(reported: object) -> str:
    """A name, or that and the two shapes, as transformers reports what does not match."""
    if not isinstance(reported, tuple):
        return str(reported)
    name, theirs, ours = reported
    return f"{name} ({list(theirs)}, not {list(ours)})"


def _few(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
