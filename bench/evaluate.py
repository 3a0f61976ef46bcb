"""What evaluation costs: `python -m bench.evaluate --peers FOLDER`, our generation against `lm_eval --model vllm`.

Both evaluate the same random model of the tiny studies' shape on the same prompts, with the same samples per problem,
the same sampling and the same engine settings, in processes of their own, one after the other, several times. Three
benchmarks share one start of the engine. The peer is lm_eval 0.4.13 in a folder that pip filled for this environment:

    pip install --no-deps --target FOLDER lm_eval==0.4.13 evaluate pytablewriter rouge-score sacrebleu scikit-learn \\
        sqlitedict word2number more_itertools DataProperty mbstrdecoder pathvalidate tabledata tcolorpy typepy \\
        portalocker nltk absl-py colorama tabulate joblib threadpoolctl lxml narwhals chardet

Generation is what `LLM.generate` takes there, and what `Engine.stream` takes here. Whole is the process from its start
to its end. lm_eval draws its samples unseeded, adds the eos to the stop strings, and gives all benchmarks to
the engine in one call; here every sample has a seed, and the benchmarks follow one another.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from bench import checkpoints, lm_eval_peer, machine
from stages.contract import Input, Resources
from stages.data.tokens import prompt_ids
from stages.generation.engine import Sampling, load
from stages.modeling.checkpoint import load_tokenizer
from stages.world.pretraining import Shape, build

ROOT = Path(__file__).parent.parent

#: Samples per problem of each benchmark; all have the same number of samples.
KS = {"few": 4, "many": 16, "one": 1}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one run took: seconds of generation and of the process, problems, and tokens that were generated."""

    generation: float
    whole: float
    problems: int
    tokens: int
    prompts: str  # a digest: both generate for the same token ids


def make(folder: Path, samples: int) -> None:
    """Write a random checkpoint `model` and the benchmarks `few.jsonl`, ...: texts of 20 to 60 tokens."""
    words = checkpoints.tokenizer(384)
    model = build(words, Shape(layers=4, width=128, mlp=384, heads=4, kv_heads=2), seed=0)
    with torch.no_grad():
        model.lm_head.weight.mul_(10)  # random weights are nearly uniform: this makes some tokens likelier than others
    model.save_pretrained(folder / "model")
    words.save_pretrained(folder / "model")
    draw = random.Random(0)
    for name, k in KS.items():
        texts = ["".join(draw.choices("abcdefgh +=0123456789", k=draw.randint(20, 60))) for _ in range(samples // k)]
        rows = [{"prompt": f"{number}. {text}", "answer": "0"} for number, text in enumerate(texts)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def ours(folder: Path, sampling: dict[str, Any]) -> dict[str, Any]:
    """Generate for every benchmark with one engine."""
    source = Input(fingerprint="model", path=folder / "model")
    engine = load(source, engine="vllm", dtype="float32", resources=Resources())
    tokenizer = load_tokenizer(source)
    seconds, tokens, seen = 0.0, 0, []
    for name, k in KS.items():
        rows = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        prompts = [prompt_ids(tokenizer, row["prompt"]) for row in rows]
        chosen = Sampling(n=k, seed=0, **{**sampling, "stop": tuple(sampling["stop"])})
        started = time.perf_counter()
        tokens += sum(len(one.token_ids) for _, group in engine.stream(prompts, chosen) for one in group)
        seconds += time.perf_counter() - started
        seen += [prompt for prompt in prompts for _ in range(k)]
    return {"generation": seconds, "tokens": tokens, "prompts": lm_eval_peer.digest(seen)}


def measure(command: list[str], environment: dict[str, str], problems: int) -> Figures:
    """Run a command whose last line of output is the JSON of its figures."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    whole = time.perf_counter() - started
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return Figures(whole=whole, problems=problems, **json.loads(done.stdout.splitlines()[-1]))


def show(results: dict[str, list[Figures]]) -> None:
    """A table of medians, and of ours as a ratio to the peer's."""
    table = Table("", "tokens", "generation, s", "tokens/s", "range", "problems/s", "whole, s")
    rates = {name: [each.tokens / each.generation for each in figures] for name, figures in results.items()}
    for name, figures in results.items():
        seconds = statistics.median(each.generation for each in figures)
        table.add_row(
            name,
            str(figures[0].tokens),
            f"{seconds:.1f}",
            f"{statistics.median(rates[name]):.0f}",
            f"{min(rates[name]):.0f} to {max(rates[name]):.0f}",
            f"{figures[0].problems / seconds:.1f}",
            f"{statistics.median(each.whole for each in figures):.1f}",
        )
    Console(width=120).print(table)
    if len(results) == 2:
        own, peer = results.values()
        rate, other = (statistics.median(rates[name]) for name in results)
        whole = statistics.median(one.whole for one in peer) / statistics.median(one.whole for one in own)
        print(f"tokens per second, ours to lm_eval's: {rate / other:.2f}; whole process: {whole:.2f} times as fast")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="a folder with lm_eval and what it needs beside this environment")
    parser.add_argument("--samples", type=int, default=512, help="of each of the three benchmarks")
    parser.add_argument("--tokens", type=int, default=128, help="of a completion, at most")
    parser.add_argument("--stop", nargs="*", default=[], help="strings that end a completion")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ours", type=Path, help=argparse.SUPPRESS)  # what this starts itself: a folder from `make`
    given = parser.parse_args(arguments)
    sampling = {"temperature": 0.6, "top_p": 1.0, "max_new_tokens": given.tokens, "stop": given.stop}
    if given.ours is not None:
        print(json.dumps(ours(given.ours, sampling)))
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = Path(scratch)
        make(folder, given.samples)
        own = [sys.executable, "-m", "bench.evaluate", "--ours", str(folder), "--tokens", str(given.tokens)]
        runs = {"this project": ([*own, "--stop", *given.stop], {**os.environ, "OMP_NUM_THREADS": "1"})}
        if given.peers is not None:
            runs["lm_eval"] = lm_eval_peer.command(folder, given.peers, KS, sampling)
        problems = sum(given.samples // k for k in KS.values())
        print(machine.described(), flush=True)
        results: dict[str, list[Figures]] = {name: [] for name in runs}
        for _ in range(given.rounds):
            for name, (command, environment) in runs.items():
                results[name].append(measure(command, environment, problems))
                print(name, results[name][-1], flush=True)
    if len({each.prompts for figures in results.values() for each in figures}) > 1:
        raise SystemExit("the prompts were not the same")
    show(results)


if __name__ == "__main__":
    main(sys.argv[1:])
