"""vLLM rollouts: the engine has the trainer's weights, whatever the architecture packs or ties."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.stages.training import launched

pytest.importorskip("vllm")

TRAIN = """
import sys
from pathlib import Path
import pytest
from stages import grpo
from stages.contract import Input
from tests import tiny_models
from tests.stages.training.test_grpo import context, graders_by_length, problems, rows
from tests.stages.test_grpo import config

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    graders_by_length(pytest.MonkeyPatch())
    for family in ("llama", "llama_tied", "qwen2"):
        here = folder / family
        base = tiny_models.base(here / "base", family, hidden_size=128, intermediate_size=96)
        inputs = {"checkpoint": tiny_models.source(base), "problems": problems(here)}
        chosen = config(engine="vllm", learning_rate=1e-2, beta=0.0)
        grpo.run(chosen, context(here, inputs))
        curve = rows(here / "output" / "training.jsonl")
        mismatches = [row["sampling_mismatch"] for row in curve if "sampling_mismatch" in row]
        assert len(mismatches) == 4 and max(mismatches) < 1e-4, (family, mismatches)
        assert max(row["gradient_norm"] for row in curve) > 0
    print("IN STEP")
"""


@pytest.mark.slow
def test_the_engine_samples_from_the_weights_of_every_step(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert "IN STEP" in done.stdout, (done.stdout + done.stderr)[-3000:]
    assert "Initializing a V1 LLM engine" in done.stdout + done.stderr


def two_ranks(rank: int, world: int, where: str) -> dict[str, Any]:
    """One run; the weights and the rewards of this rank."""
    from stages.generation import vllm_environment

    vllm_environment.prepare()
    from stages import grpo
    from tests import tiny_models
    from tests.stages.test_grpo import config
    from tests.stages.training import test_grpo
    from tests.stages.training.test_grpo_ranks import READING, digest, watched

    folder, patch = Path(where), pytest.MonkeyPatch()
    test_grpo.graders_by_length(patch)
    trainers, rewards = watched(patch)
    problems = replace(tiny_models.source(folder / "problems.jsonl"), reading=READING)
    inputs = {"checkpoint": tiny_models.source(folder / "base"), "problems": problems}
    # One held-out problem: the engine of the first rank gets none.
    chosen = config(engine="vllm", learning_rate=1e-2, validation_problems=1)
    summary = grpo.run(chosen, replace(test_grpo.context(folder, inputs), rank=rank, world=world))
    return {"weights": digest(trainers[0].model), "rewards": rewards, "summary": summary}


@pytest.mark.slow
def test_each_rank_has_an_engine_in_step_with_the_common_policy(tmp_path: Path) -> None:
    from tests import tiny_models
    from tests.stages.training import test_grpo

    tiny_models.base(tmp_path / "base", hidden_size=128, intermediate_size=96)
    test_grpo.problems(tmp_path)
    first, second = launched.run("tests.stages.training.test_grpo_rollouts:two_ranks", 2, str(tmp_path))
    assert first["weights"] == second["weights"]
    assert first["rewards"] != second["rewards"]
    assert first["summary"]["held_out"] == 1 and second["summary"] == {}
    curve = test_grpo.rows(tmp_path / "output" / "training.jsonl")
    mismatches = [row["sampling_mismatch"] for row in curve if "sampling_mismatch" in row]
    assert len(mismatches) == 4 and max(mismatches) < 1e-4
