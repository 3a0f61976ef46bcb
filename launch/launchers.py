"""The table of launchers: the only place that knows them all."""

from __future__ import annotations

from launch.inline import InlineLauncher
from launch.job import Cluster, Launcher
from launch.local import LocalLauncher


def make(cluster: Cluster) -> Launcher:
    """The launcher that conf/cluster names."""
    if cluster.launcher == "inline":
        return InlineLauncher()
    return LocalLauncher(cluster.cpus, cluster.gpus)
