"""The peer of `bench.evaluate`: lm_eval's own command line, with a clock around the engine's generate.

This module is also what that process runs, `python -m bench.lm_eval_peer ...`, with lm_eval's arguments.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

_TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
repeats: {k}
generation_kwargs: {generation}
metric_list: [{{metric: exact_match}}]
"""

#: What `VllmEngine.load` gives an engine on a CPU, for a model of 512 positions.
_SETTINGS = {
    "dtype": "float32",
    "max_model_len": 512,
    "max_num_seqs": 256,
    "max_num_batched_tokens": 4096,
    "enable_chunked_prefill": False,
    "enforce_eager": True,
    "kv_cache_memory_bytes": 1 << 30,
}


def command(
    folder: Path, peers: Path, ks: Mapping[str, int], sampling: Mapping[str, Any]
) -> tuple[list[str], dict[str, str]]:
    """Write a task for every benchmark of `folder`; returns what to run and its environment."""
    (folder / "tasks").mkdir()
    generation = {
        "until": list(sampling["stop"]),
        "do_sample": True,
        "temperature": sampling["temperature"],
        "top_p": sampling["top_p"],
        "max_gen_toks": sampling["max_new_tokens"],
    }
    for name, k in ks.items():
        text = _TASK.format(name=name, file=folder / f"{name}.jsonl", k=k, generation=json.dumps(generation))
        (folder / "tasks" / f"{name}.yaml").write_text(text)
    model = ",".join(f"{key}={value}" for key, value in {"pretrained": folder / "model", **_SETTINGS}.items())
    arguments = ["run", "--model", "vllm", "--model_args", model, "--tasks", ",".join(ks)]
    environment = {
        **os.environ,
        "PYTHONPATH": str(peers),
        "OMP_NUM_THREADS": "1",
        "HF_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "TORCHDYNAMO_DISABLE": "1",  # as ours does: to compile takes longer than this whole work
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    }
    tasks = ["--include_path", str(folder / "tasks"), "--batch_size", "auto"]
    return [sys.executable, "-m", "bench.lm_eval_peer", *arguments, *tasks], environment


def digest(prompts: Iterable[list[int]]) -> str:
    """Of the token ids of all prompts, in any order."""
    return hashlib.sha256(repr(sorted(map(list, prompts))).encode()).hexdigest()[:10]


def _import_model() -> None:
    """lm_eval asks for the version of the package `vllm`, which is called `vllm-cpu` where it is built for a CPU."""
    version = metadata.version
    if any(True for _ in metadata.distributions(name="vllm-cpu")):
        metadata.version = lambda name: version("vllm-cpu" if name == "vllm" else name)
    import lm_eval.models.vllm_causallms  # noqa: F401  (it keeps the function that it finds)

    metadata.version = version  # vLLM asks too, and knows its CPU build by the answer


def main() -> None:
    from vllm import LLM
    from vllm.platforms import current_platform

    assert current_platform is not None  # looked up before lm_eval is told otherwise
    _import_model()
    from lm_eval.__main__ import cli_evaluate

    figures = {"generation": 0.0, "tokens": 0}
    seen: list[list[int]] = []
    generate = LLM.generate

    def timed(self: LLM, prompts: Any, *args: Any, **options: Any) -> Any:
        started = time.perf_counter()
        outputs = generate(self, prompts, *args, **options)
        figures["generation"] += time.perf_counter() - started
        figures["tokens"] += sum(len(one.token_ids) for output in outputs for one in output.outputs)
        seen.extend(prompt["prompt_token_ids"] for prompt in prompts)
        return outputs

    LLM.generate = timed
    cli_evaluate()
    print(json.dumps({**figures, "prompts": digest(seen)}))


if __name__ == "__main__":
    main()
