"""A head of a toy study on Slurm, as a process that can be killed: `python -m tests.slurm.head STORE [VERB] [OPTIONS]`.

It is the command line behind the composing of the config: everything from the graph on is what users run.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import tests.conftest
from orchestrator import __main__ as command_line
from orchestrator.__main__ import Command, Study
from orchestrator.refusal import ConfigError

#: Ten nodes in four levels: a shared base, three trainings of which two continue, two sweeps of probes.
VARIANTS = {
    "Short": [{"toy_train": {"epochs": 2}}, {"toy_probe": {"digit": 0}}],
    "Long": [{"toy_train": {"epochs": 4}}, {"toy_probe": {"digit": 0}}],
    "Fast": [{"toy_train": {"epochs": 2, "rate": 3.0}}, {"toy_probe": {"digit": 0}}],
    "Faster": [{"toy_train": {"epochs": 2, "rate": 4.0}}, {"toy_probe": {"digit": 1}}],
}
CLUSTER = {
    "launcher": "slurm",
    "default": {"cpus": 1, "gpus": 0, "per_device_batch": 1, "graders": 1, "time": 5, "memory": 0.2},
    "grace": 10,
    "stages": {},
}


def study(store: Path, variants: dict[str, list[Any]] | None = None, *, cluster: dict[str, Any], **train: Any) -> Study:
    """A toy study for Slurm."""
    made = tests.conftest.study(store, variants or VARIANTS, cluster={**CLUSTER, **cluster}, **train)
    return Study(*made)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("verb", nargs="?", default="run")
    parser.add_argument("--wait", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--partition")
    given = parser.parse_args(arguments)
    default = {**CLUSTER["default"], "partition": given.partition}  # type: ignore[dict-item]
    made = study(given.store, cluster={"wait": given.wait, "default": default}, seconds=given.seconds)
    command = Command(given.verb, None, frozenset(["--json"]), [])
    try:
        return command_line.VERBS[given.verb].act(made, command)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
