"""Unfinished and finished training on disk: complete checkpoints, what of them is published, how they are continued.

Files are hard links where the file system allows it, so that publishing and continuing need no second copy of a model.
"""

from __future__ import annotations

import os
import shutil
import stat
from fnmatch import fnmatch
from pathlib import Path

from stages.contract import Lost

#: Written into a checkpoint folder of the trainer once all of its files are there.
COMPLETE = "complete"

#: The folder, beside checkpoints, of what a training went on from.
CONTINUED = "continued"

#: The optimizer's and the schedule's state.
OPTIMIZER, SCHEDULER = "optimizer.pt", "scheduler.pt"

#: Training state, by name; it is continued from and never hashed.
_STATE = (OPTIMIZER, SCHEDULER, "rng_state*", "trainer_state.json")
#: Files of the trainer that nobody reads again.
_IGNORED = (COMPLETE, "training_args.bin", "README.md")
_MODEL = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")


def complete(checkpoint: Path) -> None:
    """Mark `checkpoint` as complete, then remove what it supersedes: those beside it, and what was continued."""
    _open(checkpoint)
    (checkpoint / COMPLETE).touch()
    for other in checkpoint.parent.glob("checkpoint-*"):
        if other != checkpoint:
            shutil.rmtree(other)
    shutil.rmtree(checkpoint.parent / CONTINUED, ignore_errors=True)


def _open(checkpoint: Path) -> None:
    """Let the group of a shared store read a checkpoint, from which another user may go on if this process is killed.

    safetensors writes its files for their user alone.
    """
    mode = checkpoint.stat().st_mode
    if mode & stat.S_ISGID and mode & stat.S_IRGRP:
        for file in _regular(checkpoint):
            file.chmod(stat.S_IMODE(file.stat().st_mode) | stat.S_IRGRP)


def latest(folder: Path) -> Path | None:
    """The complete checkpoint with the most steps in `folder`, or None."""
    return next(iter(newest_first(folder)), None)


def newest_first(folder: Path) -> list[Path]:
    """The complete checkpoints in `folder`, from the most steps to the fewest."""
    return sorted((marker.parent for marker in folder.glob(f"checkpoint-*/{COMPLETE}")), key=step, reverse=True)


def step(checkpoint: Path) -> int:
    """Optimizer steps that the trainer had made: `step(Path("checkpoint-16"))` is 16."""
    return int(checkpoint.name.split("-")[1])


def discard_incomplete(folder: Path) -> None:
    """Remove the checkpoints in `folder` that a killed process left unfinished."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not (checkpoint / COMPLETE).exists():
            shutil.rmtree(checkpoint)


def publish(checkpoint: Path, model: Path, state: Path) -> None:
    """Lay out a checkpoint of the trainer as an artifact: `model/` and the training state."""
    for file in checkpoint.iterdir():
        if _is(file, _STATE):
            _link(file, state / file.name)
        elif not _is(file, _IGNORED):
            _link(file, model / file.name)


def continued(artifact: Path, work: Path) -> Path:
    """A checkpoint as the trainer wants it, in a folder of `work`, made of the `model/` and `state/` of an artifact.

    Raises:
        Lost: somebody has removed the state at this moment. There may be another to start from.
    """
    folder = work / CONTINUED
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for file in _regular(artifact / "state"):
            _link(file, folder / file.name)
    except FileNotFoundError:
        raise Lost(f"the training state of {artifact} was removed while it was read") from None
    for file in _regular(artifact / "model"):
        if _is(file, _MODEL):
            _link(file, folder / file.name)
    return folder


def _regular(folder: Path) -> list[Path]:
    """The regular files of a folder that somebody else may have made; no link of it is followed."""
    return [file for file in sorted(folder.iterdir()) if stat.S_ISREG(file.lstat().st_mode)]


def _is(file: Path, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(file.name, pattern) for pattern in patterns)


def _link(source: Path, target: Path) -> None:
    """Hard link a file, or the files of a folder; copy where the file system has no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_or_copy)
    else:
        _link_or_copy(str(source), str(target))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
