"""The smoke study, end to end, as a person runs it: real pretraining, SFT, GRPO and evaluation with a real vLLM."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import learned
from stages import artifact
from stages.identity import fingerprint, identity

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a finished smoke study."""
    folder = tmp_path_factory.mktemp("smoke")
    done = orchestrate(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done ") == 5
    return folder


def orchestrate(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the head on the smoke study."""
    command = [sys.executable, "-m", "orchestrator", *arguments, "+experiment=smoke", f'store="{store}"']
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=store)


def records(store: Path) -> dict[Path, dict[str, Any]]:
    """Every record of the store, by its file."""
    return {file: json.loads(file.read_text()) for file in store.glob("[!.]*/[!.]*/record.json")}


def test_every_record_holds(store: Path) -> None:
    found = records(store)
    assert len(found) == 5
    for file, record in found.items():
        inputs = {kind: given["fingerprint"] for kind, given in record["inputs"].items()}
        stage, version = record["identity"]["stage"], record["identity"]["version"]
        assert record["identity"] == identity(stage, version, record["config"], inputs)
        assert record["fingerprint"] == fingerprint(record["identity"])
        assert record["outputs"]
        for output in record["outputs"]:
            assert artifact.sha256(file.parent / output["path"]) == output["sha256"]


def test_it_really_was_vllm(store: Path) -> None:
    for stage in ("grpo", "evaluate"):
        logs = "".join(file.read_text() for file in (store / "logs" / stage).glob("*.txt"))
        assert "Initializing a V1 LLM engine" in logs


def test_rl_has_something_to_learn_from_and_moves_the_policy(store: Path) -> None:
    (folder,) = (file.parent for file in records(store) if file.parent.parent.name == "grpo")
    curve = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    assert len(curve) == 3
    assert any(row["zero_deviation"] < 1 for row in curve), "no group of completions had two different rewards"
    assert max(row["gradient_norm"] for row in curve) > 0.01
    assert curve[-1]["distance_start"] > 0
    assert learned.of_curve(curve) == ""


def test_a_second_run_runs_nothing(store: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in records(store)}
    again = orchestrate(store)
    assert again.returncode == 0 and "done " not in again.stdout
    assert {file: file.stat().st_mtime_ns for file in records(store)} == before


def test_one_record_deleted_and_exactly_that_node_runs_again(store: Path) -> None:
    before = records(store)
    victim = next(file for file in before if file.parent.parent.name == "sft")
    victim.unlink()
    again = orchestrate(store)
    assert again.returncode == 0 and again.stdout.count("done ") == 1
    assert records(store)[victim]["outputs"] == before[victim]["outputs"], "the same bytes as the first time"


def test_nothing_unfinished_and_nothing_of_hydra_is_left(store: Path) -> None:
    assert not list(store.glob("*/.[0-9a-f]*"))
    assert not (store / "outputs").exists() and not (store / "multirun").exists()


def test_the_table_is_there_for_people_and_programs(store: Path) -> None:
    table = (store / "reports" / "smoke" / "table.md").read_text().splitlines()
    assert table[0] == "| variant | tiny_sums | ID avg |"
    assert [line.split(" | ")[0] for line in table[2:]] == ["| ModSFT", "| ModSFT+RL"]
