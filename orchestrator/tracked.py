"""What the environment says of W&B, taken as W&B's own client takes it: it stands in many a shell profile.

A variable stops nobody: what no client would take is said in a note, and what the config has without it holds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from launch import naming
from launch.tracking import ENTITY, MODES, PROJECT

#: Further names of modes that the client knows -> what they are here.
_ALSO = {"dryrun": "offline", "run": "online", "shared": "online"}

#: Key -> what holds where no variable is set: as conf/config.yaml has it.
_UNSET = {"mode": "offline", "project": "rejuvenation", "entity": None}


def read(wandb: Any, environment: Mapping[str, str]) -> tuple[Any, list[str]]:
    """The key `wandb` of a config, and notes: what it has of the environment is taken as W&B's client takes it."""
    if not isinstance(wandb, dict):
        return wandb, []
    taken, notes = dict(wandb), []
    for key, unset in _UNSET.items():
        variable = f"WANDB_{key.upper()}"
        value = environment.get(variable)
        if value is None or wandb.get(key) != value:  # the command line says something else
            continue
        taken[key] = _ALSO.get(value, value) if key == "mode" else value
        if not value.strip():
            taken[key] = unset
        elif (allowed := _refusal(key, str(taken[key]))) is not None:
            taken[key] = unset
            notes.append(f"{variable}={value!r} of the environment is taken for unset (wandb.{key}={unset}): {allowed}")
    return taken, notes


def _refusal(key: str, value: str) -> str | None:
    """What is allowed, where W&B would not take a value."""
    if key == "mode":
        known = [*MODES, *_ALSO]
        return None if value in known else f"allowed: {', '.join(known)}"
    pattern = PROJECT if key == "project" else ENTITY
    what = "up to 128 characters, none of / \\ # ? % :" if key == "project" else "letters, digits and . _ -"
    return None if re.search(pattern, value) and naming.fault(value) is None else f"allowed: {what}"
