"""A site is one YAML: the smoke study on Slurm as a person runs it, with a real trainer and a real vLLM in the jobs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages import artifact
from tests.conftest import ROOT
from tests.slurm.cluster import Cluster

SITE = Path(__file__).parent / "site"


def orchestrate(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, from a folder of the user's, on the site of the tests."""
    site = ["+experiment=smoke", "cluster=toy", f"hydra.searchpath=[file://{SITE}]", f'store="{store}"']
    command = [sys.executable, "-m", "orchestrator", *arguments, *site]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=store.parent)


@pytest.mark.slow
def test_the_smoke_study_submitted_and_finished(tmp_path: Path, slurm: Cluster) -> None:
    store = tmp_path / "store"
    submitted = orchestrate(store)
    assert submitted.returncode == 0, submitted.stderr
    assert "5 nodes in 5 jobs, by 5 calls of sbatch" in submitted.stdout
    attached = orchestrate(store, "run", "--wait")
    assert attached.returncode == 0, attached.stderr
    assert "by 0 calls of sbatch" in attached.stderr and "ModSFT+RL" in attached.stdout
    records = [artifact.read(file.parent) for file in store.glob("[!.]*/[!.]*/record.json")]
    assert [record and record["jobs"].keys() for record in records] == [{"SLURM_JOB_ID"}] * 5
    assert all(record and record["attempts"] == 1 for record in records)
    again = orchestrate(store, "plan", "--json")
    assert {node["state"] for node in json.loads(again.stdout)["nodes"]} == {"done"}
    assert not list(store.glob("*/.[0-9a-f]*"))
