"""The local launcher: jobs are processes of this machine, as many side by side as its cores and GPUs allow."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from launch import sharing
from launch.job import Allocation, Job
from launch.worker import LIFELINE
from stages.contract import Resources

#: Seconds between asking a job to end and ending it.
GRACE = 5.0

_ROOT = Path(__file__).parent.parent


class LocalLauncher:
    """Counts cores and GPUs; a job that needs more than there are still runs, alone."""

    def __init__(self, cpus: int | None, gpus: int | None) -> None:
        self._cpus = cpus or len(os.sched_getaffinity(0))
        self._gpus = list(range(gpus)) if gpus is not None else visible_gpus()
        self._jobs: list[_Process] = []

    def room(self, resources: Allocation) -> bool:
        running = self._running()
        cpus = sum(process.cpus for process in running)
        fits = cpus + resources.cpus <= self._cpus and len(self._free_gpus()) >= resources.gpus
        return fits or not running

    def start(self, job: Job) -> _Process:
        devices = self._free_gpus()[: job.resources.gpus]
        process = _Process(job, devices)
        self._jobs.append(process)
        return process

    def _running(self) -> list[_Process]:
        self._jobs = [process for process in self._jobs if process.poll() is None]
        return self._jobs

    def _free_gpus(self) -> list[int]:
        taken = {gpu for process in self._running() for gpu in process.gpus}
        return [gpu for gpu in self._gpus if gpu not in taken]


class _Process:
    """A worker and everything it starts: one process group, which ends when the head does."""

    def __init__(self, job: Job, gpus: list[int]) -> None:
        self.gpus = gpus
        ranks = min(job.ranks, max(1, len(gpus))) if job.resources.gpus else job.ranks  # as far as there are GPUs
        self.cpus = ranks * job.resources.cpus
        module = ["launch.worker"] if ranks == 1 else ["launch.ranks", str(ranks)]
        with sharing.log(job.log) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *module, *(str(folder) for folder in job.folders)],
                stdin=subprocess.PIPE,  # its end is the head's end: see worker.LIFELINE
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(job.resources, gpus),
                cwd=_ROOT,  # `python -m` looks in the working folder first; nothing of the user's may shadow us
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._ended = False

    def poll(self) -> int | None:
        code = self._process.poll()
        if code is not None and not self._ended:
            self._end(signal.SIGKILL)  # what a killed worker left behind
            self._ended = True
        return code

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        self._end(signal.SIGKILL)
        self._process.wait()

    def _end(self, how: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, how)


def environment(resources: Resources, gpus: list[int]) -> dict[str, str]:
    """The environment of a worker: this one's, its share of the machine, and no telemetry."""
    path = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
        LIFELINE: "1",
        "OMP_NUM_THREADS": str(resources.cpus),
        # Threads that wait spin for long and take the cores of the job beside them; not to spin at all costs a third
        # of the speed of a small model.
        "GOMP_SPINCOUNT": "20000",
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


def visible_gpus() -> list[int]:
    """The GPUs of this machine that CUDA_VISIBLE_DEVICES allows, by index, without loading torch."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [int(gpu) for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu.strip().isdigit()]
    return [int(entry.name[6:]) for entry in Path("/dev").glob("nvidia[0-9]*")]


def gpu_memory() -> float | None:
    """GB of the smallest GPU of this machine, as its driver says; None without a GPU, or without its nvidia-smi."""
    if not visible_gpus():
        return None
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
        return min(int(mebibytes) for mebibytes in said.split()) * 2**20 / 1e9
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
