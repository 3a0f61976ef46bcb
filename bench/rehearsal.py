"""What a machine can do: `python -m bench.rehearsal [cluster=gpu ...]`, every stage at the paper's sequence lengths.

It makes a Llama of half a billion random weights (or of the shape that the options say), rows that fill 2,048 tokens
and prompts of 512, and runs the experiment `rehearsal` on them through the command line: SFT, attribution, the reset,
GRPO with vLLM rollouts of 1,024 tokens, and an evaluation. A random model hardly ever ends an answer, so completions
are as long as they may be. What follows the options are overrides of the experiment, for example cluster=gpu.

`make gpu-check` runs it on a GPU, behind the smoke study. On a CPU it takes a shape that fits one:

    python -m bench.rehearsal --layers 2 --width 64 --mlp 128 --heads 2 --kv-heads 1 --vocabulary 512 --positions 256 \\
        grpo.max_prompt=64 grpo.max_new_tokens=64 sft.max_length=256 evaluate.max_new_tokens=64
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from bench import machine
from stages.data.tokens import prompt_ids
from stages.world import tokenizer as world_tokenizer

ROOT = Path(__file__).parent.parent

#: A sentence that rows are made of; one token of it more or less is all that lengths differ by.
SENTENCE = "We add 12 and 34, take 5 away, and see what is left. "

#: Rows of either data set: what the experiment's few steps need.
DEMONSTRATIONS, PROBLEMS = 32, 40


@dataclass(frozen=True)
class Figure:
    """What one stage took: seconds in all, tokens and the seconds that they took, memory in bytes."""

    stage: str
    seconds: float
    tokens: int | None
    working: float
    memory: int
    gpu_memory: int | None


def make(folder: Path, shape: argparse.Namespace) -> None:
    """Write the model `base`, `demonstrations.jsonl` and `problems.jsonl`."""
    tokenizer = world_tokenizer.train([SENTENCE], vocabulary=shape.vocabulary)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.positions,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    quarter = shape.positions // 4
    prompts = [text(tokenizer, number, quarter) for number in range(max(DEMONSTRATIONS, PROBLEMS))]
    completion = text(tokenizer, 0, shape.positions - quarter - 8)
    write(folder / "demonstrations.jsonl", [{"prompt": p, "completion": completion} for p in prompts[:DEMONSTRATIONS]])
    write(folder / "problems.jsonl", [{"prompt": prompt, "answer": "41"} for prompt in prompts[:PROBLEMS]])


def text(tokenizer: PreTrainedTokenizerFast, number: int, length: int) -> str:
    """A text of nearly `length` tokens, no more, that begins with its number."""
    found = f"{number}. "
    while len(prompt_ids(tokenizer, longer := found + SENTENCE)) <= length:
        found = longer
    return found


def write(file: Path, rows: list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rehearse(folder: Path, overrides: list[str]) -> None:
    """Run the experiment; what it prints goes through."""
    paths = {
        "base": folder / "base",
        "demonstrations.path": folder / "demonstrations.jsonl",
        "problems.path": folder / "problems.jsonl",
        "store": folder / "store",
    }
    given = [f'{key}="{path}"' for key, path in paths.items()]
    command = [sys.executable, "-m", "orchestrator", "+experiment=rehearsal", "wandb.mode=disabled", *given, *overrides]
    done = subprocess.run(command, cwd=ROOT)
    if done.returncode != 0:
        sys.exit(done.returncode)


def figures(store: Path) -> Iterator[Figure]:
    """What the records of the stages say, in the order in which they ran."""
    records = [(file.parent, json.loads(file.read_text())) for file in store.glob("*/*/record.json")]
    for artifact, record in sorted(records, key=lambda found: float(found[1]["started"])):
        stage = record["identity"]["stage"]
        tokens, working = _tokens(stage, artifact, record)
        yield Figure(
            stage, record["seconds"], tokens, working, record["peak_memory"], record.get("peak_gpu_memory") or None
        )


def _tokens(stage: str, artifact: Path, record: dict[str, Any]) -> tuple[int | None, float]:
    """The tokens that a stage trained on or generated, and the seconds that this took."""
    if stage == "sft":
        return record["summary"]["tokens"], record["seconds"]
    if stage == "grpo":
        rows = [json.loads(line) for line in (artifact / "training.jsonl").read_text().splitlines()]
        config = record["config"]
        generated = sum(row["completion_length"] for row in rows if "completion_length" in row)
        return round(generated * config["prompts"] * config["completions"]), sum(row["seconds"] for row in rows)
    if stage == "evaluate":
        scores = json.loads((artifact / "scores.json").read_text())
        return round(scores["mean_tokens"] * scores["n"] * scores["k"]), record["seconds"]
    return None, record["seconds"]


def show(found: list[Figure], out: Console) -> None:
    table = Table()
    for column in ("stage", "seconds", "tokens", "tokens/s", "GPU memory", "memory"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for each in found:
        rate = "" if each.tokens is None else f"{each.tokens / each.working:,.0f}"
        gpu = "" if each.gpu_memory is None else f"{each.gpu_memory / 1e9:.1f} GB"
        tokens = "" if each.tokens is None else f"{each.tokens:,}"
        table.add_row(each.stage, f"{each.seconds:.1f}", tokens, rate, gpu, f"{each.memory / 1e9:.1f} GB")
    out.print(table)
    out.print("seconds: of the stage, loading included; tokens: trained on (sft), generated (grpo, evaluate)")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {
        "layers": 24,
        "width": 1024,
        "mlp": 5120,
        "heads": 16,
        "kv-heads": 4,
        "vocabulary": 32_000,
        "positions": 2048,
    }.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    shape, overrides = parser.parse_known_args(arguments)
    out = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        folder = Path(name)
        make(folder, shape)
        rehearse(folder, overrides)
        size = sum(file.stat().st_size for file in (folder / "base").glob("*.safetensors")) / 4e9
        out.print(f"{size:.2f} B parameters; {machine.described()}")
        show(list(figures(folder / "store")), out)


if __name__ == "__main__":
    main()
