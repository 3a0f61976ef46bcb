"""A command line in its parts, what it is about, and how it ends: what every verb is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from launch.job import Cluster
from orchestrator import permission
from orchestrator.experiment import Experiment
from orchestrator.graph import Graph
from stages.store import Store

#: Exit codes: everything asked for is done; a stage failed; the config is wrong; interrupted.
DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130

#: Hydra's flags for several values of a key: the verb is done once, for all members of the sweep.
MULTIRUN = frozenset({"-m", "--multirun"})


@dataclass(frozen=True)
class Study:
    """An experiment, or a sweep over one, with its graph and its store."""

    experiment: Experiment
    graph: Graph
    store: Store

    @property
    def cluster(self) -> Cluster:
        return self.experiment.cluster

    @property
    def reports(self) -> Path:
        """The folder of what is shown in files: of `reports=`, else of the store, or below the working folder where
        nothing can be written there."""
        if self.experiment.reports is not None:
            return Path(self.experiment.reports).expanduser().absolute() / self.experiment.name
        own = self.store.reports(self.experiment.name)
        return own if permission.unwritable(own) is None else Path("reports").absolute() / self.experiment.name


@dataclass(frozen=True)
class Site:
    """A cluster and a store, whatever is studied there."""

    cluster: Cluster
    store: Store


@dataclass(frozen=True)
class Command:
    """A command line in its parts: `VERB [NODE [OTHER]] [FLAG ...] [KEY=VALUE ...]`.

    `shows`: whether the results are shown when it is done; not yet if it is one batch of a search.
    """

    verb: str
    node: str | None
    flags: frozenset[str]
    overrides: list[str]
    shows: bool = True
    other: str | None = None

    @property
    def as_json(self) -> bool:
        return "--json" in self.flags

    @property
    def multirun(self) -> bool:
        return not self.flags.isdisjoint(MULTIRUN)

    @property
    def line(self) -> list[str]:
        """What says which study it is about: `-m` of a sweep, and the overrides."""
        return [*(["-m"] if self.multirun else []), *self.overrides]
