"""Runs: what was asked for, written into the store, so that gc knows what somebody still wants.

    <store>/runs/<user>/<experiment>-<8 hex of the overrides>.json

The same command has the same name and replaces its record, so what an edited experiment names no more is reached no
more. To give a study up, remove its record.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from launch import sharing
from orchestrator.graph import Graph, Node
from stages import jsonfile, listing, spoilt
from stages.identity import fingerprint
from stages.store import Store

#: The folder of the records.
RUNS = "runs"
#: Overrides that say where something runs, not what: they make no other run.
_WHERE = ("cluster", "store", "reads", "reports")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A node that a run asked for; with `recipe`, what it shares with shorter runs of it, and its `value` among them.

    The recipe is the fingerprint with 0 in the field along which the stage continues.
    """

    stage: str
    fingerprint: str
    recipe: str | None = None
    value: int | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One recorded run."""

    user: str
    experiment: str
    overrides: list[str]
    time: float
    nodes: list[Wanted]


def record(experiment: str, overrides: Iterable[str], graph: Graph, store: Store) -> Path:
    """Write down that all nodes of this graph are wanted; before any of them is started."""
    chosen = _chosen(overrides)
    run = Run(
        user=getpass.getuser(),
        experiment=experiment,
        overrides=chosen,
        time=time.time(),
        nodes=[_wanted(node) for node in graph.nodes.values()],
    )
    file = store.root / RUNS / run.user / f"{name(experiment, overrides)}.json"
    sharing.folder(store.root, RUNS)
    sharing.own_folder(file.parent, store.root)
    jsonfile.write(file, asdict(run), separators=(",", ":"))
    return file


def name(experiment: str, overrides: Iterable[str]) -> str:
    """What the same command has in common, wherever it runs: `tiny_math-4f53cda1`."""
    return f"{experiment}-{hashlib.sha256(json.dumps(_chosen(overrides)).encode()).hexdigest()[:8]}"


def files(store: Store) -> list[Path]:
    """The records of everybody's runs."""
    found = (store.root / RUNS).glob("*/*.json")
    return sorted(file for file in found if not file.name.startswith("."))


def read(store: Store, lost: list[Path]) -> Iterator[Run]:
    """Everybody's runs. The records that cannot be read are added to `lost`: what they want is not known."""
    for folder in listing.folders(store.root / RUNS):
        if not os.access(folder, os.R_OK | os.X_OK):
            spoilt.note(folder, "it may not be listed")
            lost.append(folder)
    for file in files(store):
        try:
            yield jsonfile.shaped(Run, file)
        except FileNotFoundError:  # removed just now
            continue
        except (OSError, ValueError) as error:
            spoilt.note(file, error)
            lost.append(file)


def _wanted(node: Node) -> Wanted:
    along = node.continues
    if along is None:
        return Wanted(stage=node.stage, fingerprint=node.fingerprint)
    recipe = recipe_of(node.identity, along)
    return Wanted(stage=node.stage, fingerprint=node.fingerprint, recipe=recipe, value=node.config[along])


def recipe_of(identity: dict[str, object], name: str) -> str:
    """What all runs of one recipe share, whatever their `name` is."""
    config = identity["config"]
    assert isinstance(config, dict)
    return fingerprint({**identity, "config": {**config, name: 0}})


def _chosen(overrides: Iterable[str]) -> list[str]:
    return sorted(each for each in overrides if not _says_where(each))


def _says_where(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return key.partition(".")[0] in _WHERE
