"""The shorter runs of a recipe that a node may go on from: which one it takes, and what becomes of their state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch import node as node_file
from launch.node import NodeSpec
from stages import artifact, part
from stages.contract import Context
from stages.store import Store


def find(spec: NodeSpec, store: Store) -> tuple[int, Path] | None:
    """The published artifact with the largest smaller value of `CONTINUES` whose training state is still there."""
    for value, fingerprint in spec.continues:
        folder = store.find(spec.stage, fingerprint)
        if folder is not None and (folder / artifact.STATE).is_dir():
            return value, folder
    return None


def trace(context: Context) -> dict[str, Any] | None:
    """What a record says of the run that a node went on from; None if it began."""
    if context.continues is None:
        return None
    value, folder = context.continues
    return {"value": value, "artifact": folder.name}


def supersede(spec: NodeSpec, folder: Path) -> None:
    """Remove the training state of shorter runs of the recipe: the next longer one goes on from this one's.

    What another node, which is prepared already, may go on from stays; `gc` finds it later.
    """
    store = Store(Path(spec.store))
    others = (each for each in folder.parent.glob(".*") if each != folder and each.is_dir())
    wanted = {fingerprint for each in others for place in part.every(each) for fingerprint in _continues(place)}
    for _, fingerprint in spec.continues:
        shorter = store.find(spec.stage, fingerprint)
        if shorter is not None and fingerprint not in wanted:
            artifact.remove_state(shorter)


def _continues(place: Path) -> list[str]:
    """What the node of a part may go on from."""
    try:
        return [fingerprint for _, fingerprint in node_file.read(place).continues]
    except (OSError, ValueError, TypeError, KeyError):  # it is published at this moment
        return []
