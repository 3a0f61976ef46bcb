"""Training state on disk, read as data: whoever has written it, nothing that is in it is run.

`torch.load` with `weights_only=True` makes tensors, numbers, texts and lists of a pickle, and refuses all else.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.trainer_pt_utils import safe_globals

from stages import jsonfile
from stages.contract import StageError


def load(file: Path, **how: Any) -> Any:
    """What `torch.load` reads from a file of tensors; `how` is passed on.

    Raises:
        StageError: the file is spoilt: it is no such file, was cut short, or would run something.
    """
    try:
        jsonfile.opened(file).close()  # no link, and no pipe
        with safe_globals():  # of numpy, for the state of its generator of random numbers
            return torch.load(file, weights_only=True, **how)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StageError(f"{file} is spoilt, and was not loaded: {why}") from None


def defect(checkpoint: Path) -> str | None:
    """What is spoilt in a checkpoint of the trainer; None if nothing is. Tensors are mapped, and not read."""
    missing = _missing(checkpoint)
    if missing is not None:
        return f"{checkpoint / missing} is not there, or may not be read"
    try:
        for file in sorted(checkpoint.iterdir()):
            if file.suffix in (".pt", ".pth"):
                load(file, map_location="cpu", mmap=True)
            elif file.suffix == ".safetensors":
                jsonfile.opened(file).close()
                with safe_open(file, framework="pt"):
                    pass
            elif file.name == "trainer_state.json" and not isinstance(jsonfile.read(file), dict):
                return f"{file} is spoilt"
    except StageError as error:
        return str(error)
    except (OSError, ValueError, SafetensorError) as error:
        return f"{file} is spoilt, and was not loaded: {error}"
    return None


def _missing(checkpoint: Path) -> str | None:
    """A file of weights that a checkpoint lacks, as one does that was copied and could not be read; None if none."""
    index = checkpoint / "model.safetensors.index.json"
    shards = (jsonfile.found(index) or {}).get("weight_map") if index.exists() else None
    names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else ["model.safetensors"]
    return next((name for name in names if not (checkpoint / name).is_file()), None)
