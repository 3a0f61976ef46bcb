"""A toy study on the real cluster, submitted by the process of the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator import __main__ as command_line
from orchestrator import drawing, plan
from orchestrator.command import Command
from orchestrator.plan import Entry
from stages.store import Store
from tests.slurm import head
from tests.slurm.cluster import Cluster

#: One training of so many epochs, and a probe that depends on it.
TRAIN: dict[str, list[Any]] = {"A": [{"toy_train": {"epochs": 12}}, {"toy_probe": {"digit": 0}}]}


class Toy:
    """`study` are fields of toy_train, and the sources as `outside`; `given` are those of every stage's resources.

    `stages` are the fields that differ for one stage; `slurm` is None where nothing is waited for.
    """

    def __init__(
        self,
        slurm: Cluster | None,
        store: Path,
        variants: dict[str, list[Any]],
        *,
        study: Any = None,
        stages: Any = None,
        **given: Any,
    ) -> None:
        default = {**head.CLUSTER["default"], **given}  # type: ignore[dict-item]
        self.study = head.study(store, variants, cluster={"default": default, "stages": stages or {}}, **(study or {}))
        self.store = store
        self._slurm = slurm

    def run(self, *flags: str) -> int:
        """The verb `run`; its exit code. With `--wait` it stays until everything is over."""
        self.study.store.refresh()
        return command_line.VERBS["run"].act(self.study, Command("run", None, frozenset({"--json", *flags}), []))

    def entry(self, stage: str) -> Entry:
        """The line of the plan for the only node of a stage."""
        (found,) = (entry for entry in self.plan() if entry.node.stage == stage)
        return found

    def plan(self) -> list[Entry]:
        return plan.make(self.study.graph, Store(self.store))

    def job(self, stage: str) -> str:
        """The id of the job that has the only node of a stage."""
        claim = self.entry(stage).claim
        assert claim is not None and claim.job is not None
        return claim.job

    def folder(self, stage: str) -> Path:
        """The folder of the only node of a stage while it is being worked on."""
        node = self.entry(stage).node
        return self.study.store.job(node.stage, node.fingerprint)

    def record(self, stage: str) -> dict[str, Any]:
        """The record of the only node of a stage."""
        node = self.entry(stage).node
        found = Store(self.store).record(node.stage, node.fingerprint)
        assert found is not None
        return found

    def log(self, stage: str) -> str:
        """Everything that the jobs of a stage printed."""
        return "".join(file.read_text() for file in sorted(self.study.store.logs(stage).glob("*.txt")))

    def saved(self, stage: str) -> int:
        """The step that the node is known to have saved; 0 before the first."""
        try:
            return int(json.loads((self.folder(stage) / "saved.json").read_text())["step"])
        except OSError:
            return 0

    def progress(self, stage: str) -> int:
        """The steps that the node is known to have made; 0 before the first."""
        node = self.entry(stage).node
        known = drawing.read_progress(self.study.store, node.stage, node.fingerprint)
        return known["step"] if known else 0

    def wait_for(self, stage: str, *states: str, seconds: float = 60.0) -> Entry:
        """Poll until the only node of a stage is in one of the states of a plan."""
        self.wait_until(lambda: self.entry(stage).state in states, seconds)
        return self.entry(stage)

    def wait_until(self, ready: Callable[[], bool], seconds: float = 60.0) -> None:
        assert self._slurm is not None
        self._slurm.wait_until(ready, seconds)

    def signal(self, stage: str, name: str = "USR2", *options: str) -> None:
        """What Slurm does when the time limit is near: a signal to the job's script."""
        assert self._slurm is not None
        self._slurm.run("scancel", f"--signal={name}", "--batch", *options, self.job(stage))
