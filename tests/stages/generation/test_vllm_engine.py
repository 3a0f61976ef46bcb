"""vLLM against transformers on a tiny model, in a process of its own, whose log shows the engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny_models

pytest.importorskip("vllm")

COMPARE = """
import sys
from pathlib import Path
from stages.contract import Resources
from stages.data.tokens import prompt_ids
from stages.generation.engine import Sampling, load
from stages.modeling.checkpoint import load_tokenizer
from tests import tiny_models

if __name__ == "__main__":
    source = tiny_models.source(Path(sys.argv[1]))
    tokenizer = load_tokenizer(source)
    prompts = [prompt_ids(tokenizer, row["prompt"]) for row in tiny_models.arithmetic(24)]
    vllm, plain = (
        load(source, engine=engine, dtype="float32", resources=Resources()) for engine in ("vllm", "transformers")
    )
    assert vllm.positions == plain.positions == 128
    greedy = Sampling(n=1, temperature=0.0, top_p=1.0, max_new_tokens=32, seed=0)
    assert vllm.generate(prompts, greedy) == plain.generate(prompts, greedy)
    stop = Sampling(n=1, temperature=0.0, top_p=1.0, max_new_tokens=32, seed=0, stop=("0", "a", "e"))
    for [one], [other] in zip(vllm.generate(prompts, stop), plain.generate(prompts, stop), strict=True):
        assert (one.text, one.finished) == (other.text, other.finished)
    samples = Sampling(n=3, temperature=1.0, top_p=1.0, max_new_tokens=16, seed=0)
    together = vllm.generate(prompts, samples)
    assert vllm.generate(prompts[5:6], samples) == together[5:6]
    assert len({tuple(c.token_ids) for c in together[0]}) == 3
    print("EQUAL")
"""


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_greedy_generations_equal_those_of_transformers_and_the_engine_is_in_the_log(
    tmp_path: Path, family: str
) -> None:
    model = tiny_models.base(tmp_path / "model", family, hidden_size=128, intermediate_size=96)
    script = tmp_path / "compare.py"
    script.write_text(COMPARE)
    command = [sys.executable, str(script), str(model)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert "EQUAL" in done.stdout, done.stderr[-3000:]
    assert "Initializing a V1 LLM engine" in done.stdout + done.stderr
