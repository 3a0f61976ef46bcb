"""vLLM against transformers, `LLM.generate` and its own copies, in a process of its own, whose log shows the engine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests import tiny_models

pytest.importorskip("vllm")

COMPARE = """
import itertools
import shutil
import sys
from pathlib import Path
import pytest
from safetensors.torch import load_file, save_file
from stages.contract import Resources, StageError
from stages.data.tokens import prompt_ids
from stages.generation.engine import Sampling, load
from stages.generation.vllm_environment import CPU_HEADS
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

    # A stream is what `LLM.generate` gives, also where it is left in the middle.
    many = [[*prompt, *prompt, 5 + i // 24] for i, prompt in enumerate(prompts * 8)]  # more tokens than one step reads
    outputs = vllm._llm.generate(
        [{"prompt_token_ids": prompt} for prompt in many],
        [vllm._parameters(prompt, samples) for prompt in many],
        use_tqdm=False,
    )
    whole = [[list(one.token_ids) for one in output.outputs] for output in outputs]
    stream = vllm.stream(many, samples)
    found = dict(itertools.islice(stream, 50))
    stream.close()
    assert not vllm._llm.llm_engine.has_unfinished_requests()
    rest = [index for index in range(len(many)) if index not in found]
    found |= zip(rest, vllm.generate([many[index] for index in rest], samples), strict=True)
    assert [[c.token_ids for c in found[index]] for index in range(len(many))] == whole

    # What would be random is not generated with.
    values = load_file(Path(sys.argv[1]) / "model.safetensors")
    broken = shutil.copytree(sys.argv[1], f"{sys.argv[1]}-broken")
    left = {name: value for name, value in values.items() if "layers.1.mlp" not in name}
    save_file(left, f"{broken}/model.safetensors")
    with pytest.raises(StageError, match="3 missing, so that they would be random"):
        load(tiny_models.source(Path(broken)), engine="vllm", dtype="float32", resources=Resources())

    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend  # not before the engine is prepared

    assert tuple(CPUAttentionBackend.get_supported_head_sizes()) == CPU_HEADS
    if sys.argv[2:] == ["copies"]:
        copies = load(source, engine="vllm", dtype="float32", resources=Resources(replicas=2, cpus=2))
        assert (copies.positions, copies.capacity) == (128, 2 * vllm.capacity)
        assert [[c.token_ids for c in group] for group in copies.generate(many, samples)] == whole
    print("EQUAL")
"""


@pytest.mark.slow
@pytest.mark.parametrize(("family", "more"), [("llama", ["copies"]), ("qwen2", [])])
def test_greedy_generations_equal_those_of_transformers_and_the_engine_is_in_the_log(
    tmp_path: Path, family: str, more: list[str]
) -> None:
    model = tiny_models.base(tmp_path / "model", family, hidden_size=128, intermediate_size=96)
    save_file({"x": torch.ones(1)}, model / "consolidated.safetensors")  # which is not the checkpoint
    script = tmp_path / "compare.py"
    script.write_text(COMPARE)
    command = [sys.executable, str(script), str(model), *more]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert "EQUAL" in done.stdout, done.stderr[-3000:]
    assert "Initializing a V1 LLM engine" in done.stdout + done.stderr
