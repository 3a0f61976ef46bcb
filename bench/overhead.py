"""What a stage costs on top of Slurm: a chain of trivial stages, one job each, against its peers on the same cluster.

    python -m bench.overhead [--stages 20] [--peers VENV]

It brings up the real cluster of the tests and runs, one after the other: a raw chain of `sbatch --dependency` (the
floor: Slurm's own scheduling), submitit alone, this project, and snakemake with its Slurm plugin from `--peers` (with
its defaults on a shorter chain, since it first looks at a job after 40 s, and tuned). A stage costs the time between
its start and that of the next one.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import submitit
from rich.console import Console
from rich.table import Table

import stages
from orchestrator import plan
from orchestrator.submit import Submitter
from tests.conftest import ROOT, TOYS
from tests.slurm import head
from tests.slurm.cluster import Cluster
from tests.slurm.conftest import running

#: Snakemake's defaults take 40 s and more a stage: a chain of this length shows that.
SHORT = 3


def raw(length: int, folder: Path, cluster: Cluster) -> list[float]:
    """Start times of a chain of bare jobs."""
    after: list[str] = []
    for stage in range(length):
        job = cluster.submit("--time=5", "--mem=200M", *after, wrap=f"date +%s.%N > {folder}/{stage}")
        after = [f"--dependency=afterok:{job}"]
    cluster.wait_for(job, "COMPLETED", seconds=600)
    return [float((folder / str(stage)).read_text()) for stage in range(length)]


def submitit_alone(length: int, folder: Path, cluster: Cluster) -> list[float]:
    """Start times of a chain of functions that submitit submits."""
    jobs: list[submitit.Job[float]] = []
    executor = submitit.SlurmExecutor(folder=folder)
    for _ in range(length):
        after = f"afterok:{jobs[-1].job_id}" if jobs else None
        executor.update_parameters(time=5, mem="200M", dependency=after)
        jobs.append(executor.submit(time.time))
    cluster.wait_for(jobs[-1].job_id, "COMPLETED", seconds=600)
    return [job.result() for job in jobs]


def ours(length: int, folder: Path, cluster: Cluster) -> list[float]:
    """Start times of a chain of toy stages: claimed, run, hashed, recorded and published."""
    chain = [{"toy_train": {"epochs": 1, "rate": 1 + stage / 1000}} for stage in range(length - 1)]
    study = head.study(folder, {"Chain": chain}, cluster={})
    submitted = Submitter(study.graph, study.store, study.experiment.cluster, print).submit(
        plan.make(study.graph, study.store)
    )
    cluster.wait_for(list(submitted.jobs)[-1], "COMPLETED", seconds=600)
    study.store.refresh()
    records = [study.store.record(node.stage, node.fingerprint) for node in study.graph.nodes.values()]
    return [record["started"] for record in records if record is not None]


def snakemake(length: int, folder: Path, venv: Path, *options: str) -> list[float]:
    """Start times of a chain of rules, each a job of snakemake's Slurm plugin."""
    rules = [f"rule all:\n  input: 'done{length - 1}'\n"]
    for stage in range(length):
        needs = f"  input: 'done{stage - 1}'\n" if stage else ""
        rules.append(f"rule s{stage}:\n{needs}  output: 'done{stage}'\n  shell: 'date +%s.%N > {{output}}'\n")
    (folder / "Snakefile").write_text("\n".join(rules))
    resources = ["--default-resources", "slurm_partition=cpu", "mem_mb=1000", "runtime=5", "slurm_account=lab"]
    command = [str(venv / "bin" / "snakemake"), "--executor", "slurm", "--jobs", "5", "--quiet", *options, *resources]
    path = os.pathsep.join([str(venv / "bin"), str(_clients(folder)), os.environ["PATH"]])
    done = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"snakemake failed:\n{done.stdout}{done.stderr}")
    return [float((folder / f"done{stage}").read_text()) for stage in range(length)]


def _clients(folder: Path) -> Path:
    """Slurm's clients, which find this cluster also where SLURM_CONF was taken away: the plugin does that, for good
    reasons, and a real site has its slurm.conf where every client looks for it."""
    (folder / "bin").mkdir()
    for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "srun", "sinfo"):
        wrapper = folder / "bin" / name
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={os.environ["SLURM_CONF"]} exec {shutil.which(name)} "$@"\n')
        wrapper.chmod(0o755)
    return folder / "bin"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", type=int, default=20)
    parser.add_argument("--peers", type=Path, help="a virtual environment with snakemake and its Slurm plugin")
    given = parser.parse_args(arguments)
    stages.__path__.append(str(TOYS / "stages"))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TOYS), str(ROOT)])  # and so for the jobs
    results: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, running() as cluster:
        os.environ |= cluster.environment

        def measure(name: str, run: Callable[[Path], list[float]]) -> None:
            folder = Path(scratch) / name.replace(" ", "-")
            folder.mkdir()
            starts = run(folder)
            results[name] = [later - earlier for earlier, later in itertools.pairwise(starts)]
            print(f"{name}: {statistics.median(results[name]):.2f} s a stage", flush=True)

        measure("raw sbatch chain", lambda folder: raw(given.stages, folder, cluster))
        measure("this project", lambda folder: ours(given.stages, folder, cluster))
        measure("submitit alone", lambda folder: submitit_alone(given.stages, folder, cluster))
        if given.peers is not None:
            tuned = ["--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"]
            measure("snakemake tuned", lambda folder: snakemake(given.stages, folder, given.peers, *tuned))
            measure(f"snakemake defaults ({SHORT} stages)", lambda folder: snakemake(SHORT, folder, given.peers))
        elif shutil.which("snakemake") is None:
            print("snakemake: missing; give its environment with --peers", file=sys.stderr)
    show(results)


def show(results: dict[str, list[float]]) -> None:
    """A table of medians, with what each costs above the raw chain, and as a ratio to this project."""
    floor = statistics.median(results["raw sbatch chain"])
    own = statistics.median(results["this project"]) - floor
    table = Table("chain", "s a stage (median)", "range", "above the raw chain, s", "times this project's")
    for name, seconds in results.items():
        median = statistics.median(seconds)
        above = median - floor
        ratio = f"{above / own:.1f}" if own > 0 and name != "raw sbatch chain" else ""
        table.add_row(name, f"{median:.2f}", f"{min(seconds):.2f} to {max(seconds):.2f}", f"{above:.2f}", ratio)
    Console(width=120).print(table)
    print(json.dumps({name: [round(each, 3) for each in seconds] for name, seconds in results.items()}))


if __name__ == "__main__":
    main(sys.argv[1:])
