"""Fixtures: real Slurm clusters on this machine. Every test below this folder is marked `slurm`."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.cluster import Cluster, reason_missing

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.slurm)


@contextlib.contextmanager
def running(**options: Any) -> Iterator[Cluster]:
    """A cluster in a new folder that every user can reach, as pytest's own folders are not; skips without Slurm."""
    if (reason := reason_missing()) is not None:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, Cluster(Path(folder), **options) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def session_cluster() -> Iterator[Cluster]:
    """The cluster that the tests of one pytest process share; take `slurm` instead."""
    with running() as cluster:
        yield cluster


@pytest.fixture
def slurm(session_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The shared cluster, with accounting: idle and empty, with this process as its client."""
    become_client(session_cluster, monkeypatch)
    yield session_cluster
    session_cluster.settle()


@pytest.fixture
def make_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Cluster]]:
    """Makes a cluster of the test's own, `make_cluster(accounting=False)`, with this process as its client."""
    with contextlib.ExitStack() as clusters:

        def make(**options: Any) -> Cluster:
            cluster = clusters.enter_context(running(**options))
            become_client(cluster, monkeypatch)
            return cluster

        yield make


def become_client(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the test ends, the environment is the cluster's and no other's."""
    for name in [name for name in os.environ if name.startswith(("SLURM", "SBATCH", "SRUN", "SACCT", "SQUEUE"))]:
        monkeypatch.delenv(name)
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
