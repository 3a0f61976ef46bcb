"""node.json: everything a worker needs to run one node, written by the head into the node's folder in the store.

It names inputs by fingerprint, so a worker finds them whoever published them and whatever they were labelled.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stages import jsonfile
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
        """Write `folder/node.json`, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f"{NODE}.{os.getpid()}"
        # Without what nobody uses, as earlier code reads it.
        plain = {key: value for key, value in asdict(self).items() if key != "reads" or value}
        draft.write_text(json.dumps(plain, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(draft, folder / NODE)


def read(folder: Path) -> NodeSpec:
    """The node of a folder in the store.

    Raises:
        OSError, ValueError: it has none, or one that is spoilt.
    """
    return jsonfile.shaped(NodeSpec, folder / NODE)
