"""The stage `pretrain`: a small base model and its data sets, made from a seed, for studies that download nothing.

Publishes `model/` and, in `data/`, JSON lines: `demonstrations` (prompt, completion), `problems` (prompt, answer) for
reinforcement learning, and the benchmarks `id`, `chains`, `words` and `choice` (prompt, answer).
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context, Seed

VERSION = 1
MAKES = ("checkpoint",)
SAVES = True
#: The files of rows that it publishes -> the field that says how many rows each has.
DATA = {
    "data/demonstrations.jsonl": "sft_problems",
    "data/problems.jsonl": "rl_problems",
    "data/id.jsonl": "test_problems",
    "data/chains.jsonl": "test_problems",
    "data/words.jsonl": "test_problems",
    "data/choice.jsonl": "test_problems",
}

#: Documents that the tokenizer is trained on, beside the data sets.
TOKENIZER_DOCUMENTS = 5000
#: Positions the model is made for; a row is no longer, generation may be longer than a row.
POSITIONS = 512

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """A world and the base that is trained on it.

    Attributes:
        seed: of weights, texts and data sets.
        steps: optimizer steps.
        batch: rows per step.
        length: tokens per row.
        learning_rate: the peak, after a warm-up over 5 % of the steps and before a linear fall to 0.
        dtype: of matrix products; parameters are float32.
        vocabulary: tokens, at most; 256 bytes and two special tokens are among them.
        layers: transformer layers.
        width: of the hidden states.
        mlp: width inside the MLP.
        heads: query heads.
        kv_heads: key and value heads.
        largest: number in a problem; start and partial results lie in 1..largest.
        noise: share of the results in the texts that are wrong.
        easy: share of the demonstrations that give the result at once, without steps.
        sft_problems: demonstrations.
        rl_problems: problems for reinforcement learning.
        test_problems: problems per benchmark.
    """

    seed: Seed
    steps: Count
    batch: Count
    length: Annotated[int, Field(ge=2, le=POSITIONS)]
    learning_rate: Annotated[float, Field(gt=0)]
    dtype: Literal["float32", "bfloat16"]
    vocabulary: Annotated[int, Field(ge=258)]
    layers: Count
    width: Count
    mlp: Count
    heads: Count
    kv_heads: Count
    largest: Annotated[int, Field(ge=10)]
    noise: Share
    easy: Share
    sft_problems: Count
    rl_problems: Count
    test_problems: Count


def takes(config: Config) -> tuple[str, ...]:
    """Nothing: the world begins here."""
    return ()


def check(config: Config) -> list[str]:
    """What the types of the fields cannot say."""
    errors = []
    if config.width % (2 * config.heads):
        errors.append(f"width: {config.width} is not a multiple of twice heads ({config.heads})")
    if config.heads % config.kv_heads:
        errors.append(f"kv_heads: {config.kv_heads} does not divide heads ({config.heads})")
    problems = config.sft_problems + config.rl_problems + config.test_problems
    possible = config.largest * (config.largest - 1) ** 2
    if 4 * problems > possible:
        errors.append(f"largest: {config.largest} gives {possible} different problems, too few to draw {problems} from")
    return errors


def run(config: Config, context: Context) -> dict[str, Any]:
    """Draw the data sets, train the tokenizer and the base, write all of it."""
    from stages.modeling.checkpoint import save_checkpoint
    from stages.world import pretraining, sets, tokenizer
    from stages.world.texts import Texts

    sizes = sets.Sizes(sft=config.sft_problems, rl=config.rl_problems, test=config.test_problems, easy=config.easy)
    made = sets.make(config.seed, config.largest, sizes)
    texts = Texts(config.largest, config.noise, made.reserved)
    shown = [row["prompt"] + row["completion"] for row in made.rows["demonstrations"]]
    words = tokenizer.train(texts.sample(config.seed, TOKENIZER_DOCUMENTS) + shown, config.vocabulary)

    recipe = pretraining.Recipe(**_named(config, pretraining.Recipe))
    model = pretraining.build(words, pretraining.Shape(**_named(config, pretraining.Shape)), config.seed)
    loss = pretraining.train(model, recipe, lambda step: pretraining.rows(recipe, texts, words, step), context)
    save_checkpoint(model, words, context.output)
    _write(made.rows, context.output / "data")
    return {"loss": loss, "parameters": model.num_parameters(), "tokens": config.steps * config.batch * config.length}


def _named(config: Config, part: type) -> dict[str, Any]:
    """The fields of `config` that `part` has too."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(part)}


def _write(rows: dict[str, list[dict[str, str]]], folder: Path) -> None:
    folder.mkdir()
    for name, table in rows.items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in table)
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
