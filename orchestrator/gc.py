"""Garbage: what this user made and no recorded run reaches.

A run that was recorded (see `orchestrator.runs`) reaches all nodes of its graph, whoever recorded it. Kept are also:
what somebody is at, with its inputs and what it may continue from; a shorter run whose training state a wanted, longer
one that is not there yet may continue from; and code and orders of jobs that are not over, or younger than a day.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from launch import claim as claims
from launch import node as node_file
from launch import order, snapshot, standing
from launch.escape import inline
from launch.node import NodeSpec
from launch.order import Order
from orchestrator import runs, view, volume
from orchestrator.command import DONE, FAILED, Command, Site
from orchestrator.refusal import ConfigError
from orchestrator.runs import Wanted
from stages import artifact, contract, meeting_place, own, part, spoilt
from stages.store import Store

#: Seconds for which what a submission is about to use is left alone.
YOUNG = 24 * 3600.0
#: Folders of the store that are no stage's.
OTHERS = {"logs", "reports", "jobs", "snapshots", "wandb", own.USERS, runs.RUNS}

#: Said where a record of a run is spoilt.
UNKNOWN = "a recorded run cannot be read, so artifacts and nodes stay; to give that run up, remove its record"

KINDS = {
    "artifact": "artifacts that no recorded run names",
    "unfinished": "folders of nodes that no recorded run names, or that are published",
    "state": "training state that a longer run has made superfluous",
    "job": "folders of jobs that are over",
    "snapshot": "code of jobs that are over",
    "meeting": "places where processes of nodes met that nobody is at",
}


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """A folder that may go, its kind (see `KINDS`) and its bytes."""

    kind: str
    path: Path
    size: int


@dataclass(kw_only=True)
class Found:
    """What a store has, as far as it matters here.

    Attributes:
        published: folder -> its record, None if that is not valid.
        unfinished: folders of nodes that are being worked on, or were.
        alive: those of them that somebody is at.
        tokens: of submissions that are not over.
        orders: folder of a job -> its order, None if it has none.
        recipes: published folder with training state -> its recipe, and its value among the runs of that.
        meetings: places where the processes of a node meet -> the node's folder.
        gone: what an earlier removal has left, and parts of nodes whose folder is gone.
    """

    published: dict[Path, dict[str, Any] | None] = field(default_factory=dict)
    unfinished: list[Path] = field(default_factory=list)
    alive: set[Path] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    orders: dict[Path, Order | None] = field(default_factory=dict)
    recipes: dict[Path, tuple[str, int]] = field(default_factory=dict)
    snapshots: list[Path] = field(default_factory=list)
    meetings: dict[Path, Path] = field(default_factory=dict)
    gone: list[Path] = field(default_factory=list)


def verb(site: Site, command: Command) -> int:
    """Show what could go and how many bytes it has; with --delete, remove it."""
    store = site.store
    before = _records(store)
    garbage = list(collect(store))
    removed = "--delete" in command.flags
    stopped = _delete(garbage, store, before) if removed else ""
    stopped = stopped or (UNKNOWN if _wanted(store) is None else "")
    if command.as_json:
        listed = [{"kind": each.kind, "path": str(each.path), "bytes": each.size} for each in garbage]
        print(json.dumps({"removed": removed and not stopped, "garbage": listed, "stopped": stopped}))
    else:
        view.show_garbage(garbage, KINDS, removed, view.console())
        for told in [*([stopped] if stopped else []), *_left(garbage)]:
            view.console(errors=True).print(view.escape(inline(told)))
    return FAILED if stopped and removed else DONE


def collect(store: Store) -> Iterator[Garbage]:
    """What may go.

    Raises:
        ConfigError: what is wanted is not known: no run was recorded, or a record cannot be read.
    """
    wanted = _wanted(store)
    found = _look(store)
    of_nodes = [] if wanted is None else [*_of_nodes(wanted, found, _kept(wanted, found))]
    for kind, path in [*of_nodes, *_of_jobs(found)]:
        for mine in _mine(kind, path):
            yield Garbage(kind=kind, path=mine, size=volume.size(mine))


def _mine(kind: str, path: Path) -> list[Path]:
    """What of it is this user's to remove: of a node's folder that several have files in, one's own."""
    own_one = part.owner_of(path) == os.getuid()
    if kind != "unfinished" or (own_one and not _others(path)):
        return [path] if own_one else []
    try:
        return [each for each in sorted(path.iterdir()) if part.owner_of(each) == os.getuid()]
    except OSError:
        return []


def _others(folder: Path) -> list[str]:
    """Who else has files in a node's folder."""
    try:
        owners = {part.owner_of(each) for each in folder.iterdir()} - {None, os.getuid()}
    except OSError:
        return []
    return sorted(own.login(owner) for owner in owners if owner is not None)


def _records(store: Store) -> list[tuple[Path, int]]:
    """The state of what is recorded: it changes with every run."""
    return [(file, file.lstat().st_mtime_ns) for file in runs.files(store)]


def _wanted(store: Store) -> list[Wanted] | None:
    """The nodes that recorded runs want; None if a record cannot be read, as what it wants is not known then."""
    if not runs.files(store):
        raise ConfigError(
            [f"gc: no run is recorded in {store.root / runs.RUNS}, so nothing there would be kept; run a command first"]
        )
    lost: list[Path] = []
    found = list({wanted: None for run in runs.read(store, lost) for wanted in run.nodes})
    return None if lost else found


def _look(store: Store) -> Found:
    """Look through the store; one call of squeue, none without jobs of Slurm."""
    found = Found()
    for stage in _folders(store.root):
        for folder in _folders(stage) if stage.name not in OTHERS and not stage.name.startswith(".") else ():
            if folder.name.startswith(artifact.GONE):
                found.gone.append(folder)
            elif re.fullmatch(r"\.[0-9a-f]{16}", folder.name):
                found.unfinished.append(folder)
            elif re.fullmatch(r"[^.].*-[0-9a-f]{10}", folder.name):
                found.published[folder] = record = artifact.read(folder)
                recipe = None if record is None or not _has_state(folder) else _recipe(record)
                found.recipes |= {folder: recipe} if recipe is not None else {}
    found.gone += part.left(store.root)
    held = {folder: claims.read(folder) for folder in found.unfinished}
    seen = standing.look(claim for claim in held.values() if claim is not None)
    for folder, claim in held.items():
        locked = store.running(folder.parent.name, folder.name.lstrip("."))
        if standing.of(folder, claim, seen, locked=locked).state != "free":
            found.alive.add(folder)
            found.tokens |= {claim.token} if claim is not None else set()
    if not isinstance(seen, Exception):
        found.tokens |= {str(job.token) for job in seen.entries if not job.ended}
    found.orders = {folder: _order(folder) for folder in order.folders(store.root)}
    found.snapshots = snapshot.folders(store.root)
    found.meetings = meeting_place.places(store.root)
    return found


def _kept(wanted: Iterable[Wanted], found: Found) -> set[str]:
    """The fingerprints of artifacts that stay: wanted, read by somebody now, or with training state that is needed."""
    kept = {each.fingerprint for each in wanted}
    for spec in _running(found):
        kept |= {given.artifact for given in spec.inputs.values() if given.artifact is not None}
        kept |= {shorter for _, shorter in spec.continues}
    return kept | {record["fingerprint"] for record in _continued(wanted, found)}


def _continued(wanted: Iterable[Wanted], found: Found) -> Iterator[dict[str, Any]]:
    """The records of shorter runs that a wanted, longer one which is not there may continue from."""
    there = {record["fingerprint"] for record in found.published.values() if record is not None}
    longest: dict[str, int] = {}
    for each in wanted:
        if each.recipe is not None and each.value is not None and each.fingerprint not in there:
            longest[each.recipe] = max(each.value, longest.get(each.recipe, 0))
    for folder, (recipe, value) in found.recipes.items():
        record = found.published[folder]
        if record is not None and value < longest.get(recipe, 0):
            yield record


def _recipe(record: dict[str, Any]) -> tuple[str, int] | None:
    """Recipe and value of an artifact; None if its stage continues nothing, or is not there any more."""
    stage = record["identity"]["stage"]
    name = getattr(contract.load(stage), "CONTINUES", None) if stage in contract.names() else None
    if name is None or name not in record["config"]:
        return None
    value = record["config"][name]
    return (runs.recipe_of(record["identity"], name), value) if isinstance(value, int) else None


def _of_nodes(wanted: list[Wanted], found: Found, kept: set[str]) -> Iterator[tuple[str, Path]]:
    """Garbage among artifacts, unfinished nodes and training state."""
    by_name = {(each.stage, each.fingerprint[:10]) for each in wanted}
    there = {(folder.parent.name, folder.name[-10:]) for folder, record in found.published.items() if record}
    for folder, record in found.published.items():
        damaged = record is None and (folder.parent.name, folder.name[-10:]) in by_name  # `run` replaces that
        if not damaged and (record is None or record["fingerprint"] not in kept):
            yield "artifact", folder
    for folder in found.unfinished:
        name = (folder.parent.name, folder.name[1:11])
        if folder not in found.alive and (name in there or name not in by_name):
            yield "unfinished", folder
    yield from (("unfinished", folder) for folder in found.gone)
    needed = {record["fingerprint"] for record in _continued(wanted, found)}
    needed |= {shorter for spec in _running(found) for _, shorter in spec.continues}
    for folder in _outdone(found, kept):
        record = found.published[folder]
        if record is not None and record["fingerprint"] not in needed:
            yield "state", folder / artifact.STATE


def _running(found: Found) -> Iterator[NodeSpec]:
    """The nodes that somebody is at."""
    for folder in found.alive:
        with contextlib.suppress(OSError, ValueError):  # claimed a moment ago; then its run is recorded
            yield node_file.read(part.last(folder))


def _outdone(found: Found, kept: set[str]) -> Iterator[Path]:
    """Artifacts with training state that stay, and of whose recipe a longer one with training state stays as well."""
    recipes: dict[str, list[tuple[int, Path]]] = {}
    for folder, (recipe, value) in found.recipes.items():
        record = found.published[folder]
        if record is not None and record["fingerprint"] in kept:
            recipes.setdefault(recipe, []).append((value, folder))
    for several in recipes.values():
        yield from (folder for _, folder in sorted(several)[:-1])


def _of_jobs(found: Found) -> Iterator[tuple[str, Path]]:
    """Garbage among what jobs leave: orders whose claims are over, code that no other order needs, meeting places."""
    last = {claim.token for folder in found.unfinished if (claim := claims.read(folder)) is not None}
    used = set()
    for folder, given in found.orders.items():
        # The last job of a node that failed stays with it: there may be nothing else that says why.
        if folder.name in found.tokens | last or _is_young(folder / order.ORDER if given else folder):
            used |= {Path(given.root).name} if given is not None else set()
        else:
            yield "job", folder
    for folder in found.snapshots:
        if folder.name not in used and not _is_young(folder):
            yield "snapshot", folder
    for place, node in found.meetings.items():
        if node not in found.alive and not _is_young(place):
            yield "meeting", place


def _delete(garbage: Iterable[Garbage], store: Store, before: list[tuple[Path, int]]) -> str:
    """Remove what may go, each renamed first, so that nobody ever finds half of it; why it stopped, if it did."""
    for each in garbage:
        if _records(store) != before:
            return "somebody has started a run meanwhile; nothing more is removed: run gc again"
        gone = _beside(each.path, store) / f"{artifact.GONE}{secrets.token_hex(6)}"
        try:
            os.rename(each.path, gone)
        except OSError as error:
            return f"{each.path}: cannot be removed: {error.strerror}"
        if gone.is_dir() and not gone.is_symlink():
            shutil.rmtree(gone, ignore_errors=True)
        else:
            gone.unlink(missing_ok=True)
    return ""


def _left(garbage: Iterable[Garbage]) -> list[str]:
    """What is left of nodes' folders that several have files in: of whom it is, and who can remove it."""
    folders = dict.fromkeys(each.path.parent for each in garbage if each.kind == "unfinished")
    shared = ((folder, _others(folder)) for folder in folders if folder.name.startswith("."))
    return [
        f"{folder}: has files of {', '.join(names)}, who can remove them with `gc --delete`; so can root"
        for folder, names in shared
        if names
    ]


def _beside(path: Path, store: Store) -> Path:
    """The folder of a stage that something lies in; of what lies in a user's folder, the folder that it lies in."""
    top = path.relative_to(store.root).parts[0]
    return path.parent if top == own.USERS else store.root / top


def _order(folder: Path) -> Order | None:
    try:
        return order.read(folder)
    except (OSError, ValueError) as error:
        spoilt.note(folder / order.ORDER, error)
        return None


def _folders(parent: Path) -> list[Path]:
    """The folders in a folder, none if there is no such folder."""
    try:
        with os.scandir(parent) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _has_state(folder: Path) -> bool:
    return (folder / artifact.STATE).is_dir()


def _is_young(path: Path) -> bool:
    return time.time() - path.stat().st_mtime < YOUNG
