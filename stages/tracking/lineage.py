"""Lineage: artifacts of the store as artifacts of W&B, by reference. Nothing is uploaded but names, sizes and digests.

An artifact's digest in W&B is made of the SHA-256 that its record has of each file. So whoever refers to it, the run
that made it or one that uses it, in whatever store, means the same version, and no file is read for it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from huggingface_hub.constants import ENDPOINT

from stages import contract
from stages.store import Store
from stages.tracking import names

#: Files of a source folder that are referred to one by one.
MOST = 1000


def use_inputs(run: Any, inputs: Mapping[str, Any], store: Store) -> None:
    """Note what a node reads: kind -> its `launch.node.InputSpec` as plain data."""
    every = {found.name: found for kind, given in inputs.items() if (found := _input(kind, given, store)) is not None}
    for found in every.values():  # several inputs may be files of one artifact
        # `use_artifact` asks the server, and refuses to do anything offline. This is what it does with an artifact
        # that is new: the client notes the use, and whoever uploads the run finds the version by its digest.
        run._log_artifact(found, aliases=[], is_user_created=True, use_after_commit=True)


def log_output(run: Any, folder: Path, record: Mapping[str, Any], *, weights: bool) -> None:
    """Note what a node has made; upload its weights only if that was asked for."""
    run.log_artifact(published(folder, record))
    files = [output["path"] for output in record["outputs"] if output["path"].startswith("model/")]
    if weights and files:
        own = wandb.Artifact(f"{_name(record)}.weights", "weights", metadata={"fingerprint": record["fingerprint"]})
        for path in files:
            own.add_file(str(folder / path), name=path, policy="immutable", skip_cache=True)
        run.log_artifact(own)


def published(folder: Path, record: Mapping[str, Any]) -> wandb.Artifact:
    """The artifact of a folder of the store."""
    stage = record["identity"]["stage"]
    digests = {output["path"]: output["sha256"] for output in record["outputs"]}
    found = wandb.Artifact(
        _name(record),
        _type(stage),
        metadata={"fingerprint": record["fingerprint"], "stage": stage, "folder": str(folder), "sha256": digests},
    )
    for path, digest in digests.items():
        _refer(found, (folder / path).as_uri(), path, digest)
    return found


def _input(kind: str, given: Mapping[str, Any], store: Store) -> wandb.Artifact | None:
    if given.get("artifact"):
        folder, record = store.find(given["stage"], given["artifact"]), store.record(given["stage"], given["artifact"])
        return None if folder is None or record is None else published(folder, record)
    metadata = {name: given.get(name) for name in ("fingerprint", "hub", "revision", "path", "reading")}
    name = names.of_artifact("source", kind, given["fingerprint"])
    found = wandb.Artifact(name, "dataset" if given.get("reading") else "source", metadata=metadata)
    if given.get("hub"):
        place = f"{'datasets/' if given.get('reading') else ''}{given['hub']}/tree/{given['revision']}"
        _refer(found, f"{ENDPOINT}/{place}", "hub", given["fingerprint"])
    elif given.get("path"):
        root = Path(given["path"])
        files = sorted(file for file in root.rglob("*") if file.is_file())[:MOST] if root.is_dir() else [root]
        for file in files:
            name = file.relative_to(root).as_posix() if file != root else file.name
            _refer(found, file.as_uri(), name, hashlib.sha256(f"{given['fingerprint']} {name}".encode()).hexdigest())
    return found


def _refer(artifact: wandb.Artifact, uri: str, path: str, sha256: str) -> None:
    """Add a reference whose digest is ours; the client's own would be that of the path, or read the whole file."""
    for entry in artifact.add_reference(uri, name=path, checksum=False):
        entry.digest = base64.b64encode(bytes.fromhex(sha256)).decode()  # type: ignore[assignment]


def _name(record: Mapping[str, Any]) -> str:
    return names.of_artifact(record["identity"]["stage"], record["label"], record["fingerprint"])


def _type(stage: str) -> str:
    makes: tuple[str, ...] = contract.load(stage).MAKES if stage in contract.names() else ()
    return makes[0] if makes else stage
