"""Several copies of a model as one engine: real processes with transformers engines on the CPU."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.contract import Resources, StageError
from stages.data.tokens import prompt_ids
from stages.generation import engine as engines
from stages.generation.engine import Engine, Sampling
from stages.generation.replicas import Replicas, devices
from stages.modeling.checkpoint import load_tokenizer
from tests import tiny_models

SAMPLES = Sampling(n=3, temperature=1.0, top_p=1.0, max_new_tokens=16, seed=0)


def load(model: Path, copies: int) -> Engine:
    resources = Resources(per_device_batch=8, replicas=copies)
    return engines.load(tiny_models.source(model), engine="transformers", dtype="float32", resources=resources)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.base(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def prompts(model: Path) -> list[list[int]]:
    tokenizer = load_tokenizer(tiny_models.source(model))
    return [prompt_ids(tokenizer, row["prompt"]) for row in tiny_models.arithmetic(24)]


def test_each_copy_has_gpus_of_its_own() -> None:
    assert devices("4,5,6,7", Resources(gpus=4, tensor_parallel=2)) == ["4,5", "6,7"]
    assert devices(None, Resources(gpus=2)) == ["0", "1"]
    assert devices("GPU-a,GPU-b,GPU-c", Resources(gpus=3, replicas=2)) == ["GPU-a", "GPU-b"]
    assert devices("", Resources(replicas=3)) == devices(None, Resources(replicas=3)) == ["", "", ""]


@given(size=st.integers(1, 4), copies=st.integers(1, 4))
def test_copies_share_the_gpus_out(size: int, copies: int) -> None:
    resources = Resources(gpus=size * copies, tensor_parallel=size)
    assert resources.copies == copies
    groups = [group.split(",") for group in devices(None, resources)]
    assert [len(group) for group in groups] == [size] * copies
    assert sum(groups, []) == [str(number) for number in range(size * copies)]


@pytest.mark.slow
def test_copies_give_the_texts_of_one_engine_until_one_of_them_dies(model: Path, prompts: list[list[int]]) -> None:
    alone = load(model, 1).generate(prompts, SAMPLES)
    copies = load(model, 2)
    assert isinstance(copies, Replicas) and copies.capacity == 16 and copies.positions == 128
    assert copies.generate(prompts, SAMPLES) == alone
    stream = copies.stream(prompts, SAMPLES)
    index, completions = next(stream)
    assert completions == alone[index]
    stream.close()  # type: ignore[attr-defined]
    assert copies.generate(prompts, SAMPLES) == alone
    os.kill(copies._replicas[1].process.pid or 0, signal.SIGKILL)
    with pytest.raises(
        StageError, match=r"copy 1 of 2 of the model ended \(exit code -9\); the end of what it printed"
    ):
        copies.generate(prompts * 50, SAMPLES)
    with pytest.raises(StageError, match="copy 1 of 2"):
        copies.generate(prompts, SAMPLES)
    assert not any(replica.process.is_alive() for replica in copies._replicas)


@pytest.mark.slow
def test_a_checkpoint_that_is_refused_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(StageError, match="only safetensors checkpoints are read"):
        load(tmp_path, 2)


ORPHANS = """
import os, signal, sys
from pathlib import Path
from tests.stages.generation.test_replicas import load

if __name__ == "__main__":
    copies = load(Path(sys.argv[1]), 2)
    print(*(replica.process.pid for replica in copies._replicas), flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["killed", "returns"])
def test_no_copy_outlives_who_started_it(tmp_path: Path, model: Path, end: str) -> None:
    script = tmp_path / "orphans.py"
    script.write_text(ORPHANS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(model), end]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as parent:
        pids = list(map(int, parent.communicate(timeout=200)[0].split()))
    assert len(pids) == 2
    assert parent.returncode == (-signal.SIGKILL if end == "killed" else 0)
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    assert not psutil.wait_procs(left, timeout=30)[1]
