"""node.json: everything a worker needs to run one node, written by the head into its user's part of the node's folder.

It names inputs by fingerprint, so a worker finds them whoever published them and whatever they were labelled.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from launch import sharing
from stages import identity, jsonfile, part
from stages.contract import StageError
from stages.store import Store

NODE = "node.json"


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """Where one input is: an artifact (`stage` and `artifact`, its fingerprint), a `path`, or a `hub` id at a commit.

    `fingerprint` is what the node's identity has for it: for a file inside an artifact it differs from `artifact`.
    `content` is what a `path` must still have (see `stages.content`).
    """

    fingerprint: str
    stage: str | None = None
    artifact: str | None = None
    path: str | None = None
    hub: str | None = None
    revision: str | None = None
    reading: dict[str, Any] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class NodeSpec:
    """One node to run.

    Attributes:
        identity: the pre-image of `fingerprint`; its config is the stage's.
        inputs: kind -> where the input is.
        continues: smaller nodes of the same recipe this one may continue from, as (value, fingerprint), nearest first.
        resources: the fields of `stages.contract.Resources`.
        tracking: what `launch.tracking` is told of the node's run in W&B; None: it has none.
        reads: the roots of the stores of others, where an input may be that `store` does not have.
    """

    store: str
    stage: str
    label: str
    fingerprint: str
    identity: dict[str, Any]
    inputs: dict[str, InputSpec]
    continues: list[tuple[int, str]]
    resources: dict[str, Any]
    tracking: dict[str, Any] | None = None
    reads: list[str] = field(default_factory=list)

    @property
    def inputs_from(self) -> Store:
        """Where its inputs are."""
        return Store(Path(self.store), map(Path, self.reads))

    def write(self, folder: Path) -> None:
        """Write the node.json of this user, whole or not at all; the node's folder is made where it is absent.

        Raises:
            NotOwn: somebody else has put something in its place.
        """
        sharing.folder(Path(self.store), *folder.relative_to(self.store).parts)
        # Without what nobody uses, as earlier code reads it.
        plain = {key: value for key, value in asdict(self).items() if key != "reads" or value}
        jsonfile.write(part.make(folder) / NODE, plain, indent=1, ensure_ascii=False)


def read(place: Path) -> NodeSpec:
    """The node of a part.

    Raises:
        OSError, ValueError: it has none, or one that is spoilt.
    """
    return jsonfile.shaped(NodeSpec, place / NODE)


def own(folder: Path) -> NodeSpec:
    """The node that this user's worker is to run: what this user's head has written, for this folder.

    Raises:
        StageError: it is the node of another folder, or its config is not that of its fingerprint.
        OSError, ValueError: it is not there, or spoilt.
    """
    spec = read(part.mine(folder))
    named = (folder.parent.name, folder.name) == (spec.stage, f".{spec.fingerprint[:16]}")
    if not named or not folder.parent.parent.samefile(spec.store):
        raise StageError(f"{part.mine(folder) / NODE} is of another node; run the command again")
    if identity.fingerprint(spec.identity) != spec.fingerprint:
        raise StageError(
            f"{part.mine(folder) / NODE}: its config is not that of its fingerprint; run the command again"
        )
    return spec
