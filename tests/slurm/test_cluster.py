"""The cluster is a real one, in each of the modes that real sites have."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.slurm.cluster import Cluster


def test_a_job_runs_and_finishes(slurm: Cluster, tmp_path: Path) -> None:
    subprocess.run(
        ["sbatch", "--wait", f"--output={tmp_path}/out", "--wrap", "echo $SLURMD_NODENAME"], check=True
    )
    assert (tmp_path / "out").read_text() == "n1\n"
