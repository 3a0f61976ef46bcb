"""The inputs of a node as its worker finds them: again, and only if they are still what the plan saw."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from launch.node import InputSpec, NodeSpec
from stages import content, hub, rows
from stages.contract import Input, StageError
from stages.store import Store


class Missing(StageError):
    """An input is not there. Whoever was to make it has failed, or was lost; made again, it can be read."""


def resolve(kind: str, given: InputSpec, store: Store) -> Input:
    """Find an input again and verify its record: what was true when the plan was made may not be any more.

    Raises:
        StageError: it is not there.
    """
    path = Path(given.path) if given.path else None
    if given.artifact is not None:
        assert given.stage is not None
        path = store.find(given.stage, given.artifact)
        if path is None:
            where = " or ".join(str(each.root) for each in (store, *store.reads))
            raise Missing(f"input {kind}: {given.stage} {given.artifact[:10]} has no valid record in {where}")
        if given.reading.get("file"):
            rows.inside(path, given.reading["file"])
    elif path is not None and not path.exists():
        raise StageError(f"input {kind}: {path} does not exist any more")
    elif given.hub is not None and given.revision is not None and not given.reading:
        return Input(fingerprint=given.fingerprint, path=hub.model(given.hub, given.revision))
    return Input(
        fingerprint=given.fingerprint, path=path, hub=given.hub, revision=given.revision, reading=given.reading
    )


def check_sources(spec: NodeSpec) -> None:
    """Refuse files that are not any more what the node's fingerprint says.

    Raises:
        StageError: one has changed.
    """
    known = content.memory(Path(spec.store))
    for kind, given in spec.inputs.items():
        if given.path is None or not given.content or not Path(given.path).exists():
            continue
        file = content.changed(Path(given.path), given.reading.get("file"), given.content, known)
        if file is not None:
            raise StageError(f"input {kind}: {file} has changed since this was submitted; run the command again")
    known.keep()


def trace(given: InputSpec, found: Input) -> dict[str, Any]:
    """What a record says of an input: its identity, and where it was for this run."""
    return asdict(given) | {"path": None if found.path is None else str(found.path)}
