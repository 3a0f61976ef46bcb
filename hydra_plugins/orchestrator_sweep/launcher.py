"""The launcher `orchestrator`: all members that a sweeper asks for become one call of the task function.

So nodes that members share are planned and run once. Any sweeper can drive it: a grid asks for all members at once, a
search for a few at a time, and waits for their scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

#: Sweepers that ask for all members at once and read no score.
GRIDS = (
    "hydra_plugins.orchestrator_sweep.sweeper.GridSweeper",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
)


@dataclass
class LauncherConfig:
    """`hydra/launcher=orchestrator`."""

    _target_: str = "hydra_plugins.orchestrator_sweep.launcher.OrchestratorLauncher"


ConfigStore.instance().store(group="hydra/launcher", name="orchestrator", node=LauncherConfig, provider="orchestrator")


class OrchestratorLauncher(Launcher):
    """Composes the members and calls `task_function(members, search)` once, which returns a score for each, or None."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by the sweeper; `config` is what all members have in common."""
        self._loader = hydra_context.config_loader
        self._act: Any = task_function
        self._master = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """One return for each member, with its score; a member without one has failed if this is a search."""
        from orchestrator import config  # here, because Hydra imports this module in every Hydra application
        from orchestrator.refusal import ConfigError

        search = self._master.hydra.sweeper._target_ not in GRIDS
        direction = self._master.hydra.sweeper.get("direction")
        if search and getattr(direction, "name", direction) == "minimize":
            raise ConfigError(["hydra.sweeper.direction=minimize: a search chooses by scores; allowed: maximize"])
        members = config.members(self._master, self._loader, job_overrides)
        returns = []
        for overrides, score in zip(job_overrides, self._act(members, search), strict=True):
            failed = search and score is None
            value = config.Unscored(f"{' '.join(overrides)}: has no score") if failed else score
            status = JobStatus.FAILED if failed else JobStatus.COMPLETED
            returns.append(JobReturn(overrides=list(overrides), status=status, _return_value=value))
        return returns
