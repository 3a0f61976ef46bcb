"""Fixtures: toy stages, and studies made of them that run in a blink."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

import stages
from launch.job import Allocation, Cluster
from orchestrator import chains, run
from orchestrator import experiment as experiments
from orchestrator.experiment import Experiment
from orchestrator.graph import Graph
from orchestrator.sources import Sources
from stages.store import Store

hypothesis.settings.register_profile("untimed", deadline=None)  # a machine may be slow, or busy with other tests
hypothesis.settings.load_profile("untimed")
os.environ["WANDB_MODE"] = "disabled"  # of whatever these tests start; those of W&B say what they want


def pytest_collection_finish() -> None:
    """What the imports left is there for good: a collection of garbage does not look at its millions of objects."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Libraries complain of what is left at the end of a process."""
    gc.unfreeze()


TOYS = Path(__file__).parent / "toys"
ROOT = Path(__file__).parent.parent


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the toy stages legal stages, here and in workers."""
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(TOYS / "stages")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TOYS), str(ROOT)]))
    yield
    for name in [name for name in sys.modules if name.startswith("stages.toy_")]:
        del sys.modules[name]


def cluster(launcher: str = "inline", cpus: int = 2) -> Cluster:
    """A cluster of this machine."""
    return Cluster(launcher=launcher, cpus=cpus, gpus=0, default=Allocation(), stages={})


def study(
    store: Path,
    variants: dict[str, list[Any]] | None = None,
    overrides: dict[str, dict[str, str]] | None = None,
    cluster: dict[str, Any] | None = None,
    outside: dict[str, Any] | None = None,
    **train: Any,
) -> tuple[Experiment, Graph, Store]:
    """A toy study: by default a short and a long training of one base, the long one probed twice.

    `outside` are the sources, such as `base`; `train` are fields of toy_train.
    """
    read = experiments.read(composed(store, variants, cluster, outside, **train), overrides or {})
    made = Store(store)
    return read, chains.expand(read, Sources(store)), made


def composed(
    store: Path,
    variants: dict[str, list[Any]] | None = None,
    cluster: dict[str, Any] | None = None,
    outside: dict[str, Any] | None = None,
    **train: Any,
) -> dict[str, Any]:
    """The config of a toy study, as Hydra would compose it."""
    return {
        "name": "toy",
        "seed": 0,
        "store": str(store),
        "only": [],
        "base": ["toy_base"],
        "checkpoint": None,
        "demonstrations": None,
        "problems": None,
        "calibration": None,
        "benchmark": {},
        "wandb": {"mode": "disabled"},
        "cluster": cluster or {"launcher": "inline", "cpus": 1, "gpus": 0, "default": {}, "stages": {}},
        "variants": variants
        or {
            "Long": [{"toy_train": {"epochs": 4}}, {"toy_probe": {"digit": 0}}],
            "LongAgain": [{"toy_train": {"epochs": 4}}, {"toy_probe": {"digit": 1}}],
            "Short": [{"toy_train": {"epochs": 2}}],
        },
        "toy_base": {"value": 1.5},
        "toy_train": {"rate": 2.0, "seconds": 0.0, **train},
        "toy_probe": {},
        "toy_idle": {},
        "toy_ranks": {},
        "toy_read": {},
        "toy_shell": {},
        **(outside or {}),
    }


def carry_out(
    found: Graph,
    store: Store,
    launcher: str = "inline",
    watch: Callable[[run.Run], None] = lambda run: None,
    tracking: dict[str, Any] | None = None,
) -> run.Outcome:
    """Run a toy study."""
    store.root.mkdir(exist_ok=True)
    return run.Run(found, store, cluster(launcher), watch, tracking).carry_out()
