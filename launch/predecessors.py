"""The shorter runs of a recipe that a node may go on from: which one it takes, and what becomes of their state."""

from __future__ import annotations

from pathlib import Path

from launch import node as node_file
from launch.node import NodeSpec
from stages import artifact
from stages.store import Store


def find(spec: NodeSpec, store: Store) -> tuple[int, Path] | None:
    """The published artifact with the largest smaller value of `CONTINUES` whose training state is still there."""
    for value, fingerprint in spec.continues:
        folder = store.find(spec.stage, fingerprint)
        if folder is not None and (folder / artifact.STATE).is_dir():
            return value, folder
    return None


def supersede(spec: NodeSpec, folder: Path) -> None:
    """Remove the training state of shorter runs of the recipe: the next longer one goes on from this one's.

    What another node, which is prepared already, may go on from stays; `gc` finds it later.
    """
    store = Store(Path(spec.store))
    others = (each for each in folder.parent.glob(f".*/{node_file.NODE}") if each.parent != folder)
    wanted = {fingerprint for each in others for _, fingerprint in _continues(each)}
    for _, fingerprint in spec.continues:
        shorter = store.find(spec.stage, fingerprint)
        if shorter is not None and fingerprint not in wanted:
            artifact.remove_state(shorter)


def _continues(file: Path) -> list[tuple[int, str]]:
    """What the node of a node.json may go on from."""
    try:
        return node_file.read(file.parent).continues
    except (OSError, ValueError, TypeError, KeyError):  # it is published at this moment
        return []
