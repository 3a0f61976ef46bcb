"""The problems of a GRPO run: which are held out, which are too long, and the order they are rolled out in."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from stages import rows
from stages.contract import Input, StageError
from stages.data.tokens import prompt_ids
from stages.grpo import Config

Row = dict[str, str]


@dataclass(frozen=True)
class Problems:
    """Rows with `prompt` and `answer`, and how many prompts were too long for either part."""

    train: list[Row]
    validation: list[Row]
    too_long: int

    @property
    def counts(self) -> dict[str, int]:
        return {"problems": len(self.train), "held_out": len(self.validation), "too_long": self.too_long}


def load(source: Input, tokenizer: PreTrainedTokenizerBase, config: Config) -> Problems:
    """Hold out the last `validation_problems` rows, then leave out the prompts of more than `max_prompt` tokens."""
    every = rows.load(source)
    cut = len(every) - config.validation_problems
    fits = [len(prompt_ids(tokenizer, row["prompt"])) <= config.max_prompt for row in every]
    train = [row for row, fit in zip(every[: max(cut, 0)], fits, strict=False) if fit]
    validation = [row for row, fit in zip(every[cut:], fits[cut:], strict=True) if fit] if cut > 0 else []
    if len(train) < config.prompts:
        raise StageError(
            f"prompts: {config.prompts} per rollout, but of {len(every)} rows {len(train)} are left to train on "
            f"({config.validation_problems} held out, {fits.count(False)} longer than max_prompt={config.max_prompt})"
        )
    if config.validate_every and not validation:
        raise StageError(f"validation_problems: none of the last {config.validation_problems} rows fits max_prompt")
    return Problems(train, validation, fits.count(False))


def order(rows: int, rollouts: int, prompts: int, seed: int) -> list[int]:
    """Row numbers of all rollouts, one after the other: `rollouts * prompts` of them.

    Every pass over the rows is a permutation of its own, cut to whole rollouts (verl's drop_last), so no rollout has
    a problem twice. Fixed by its arguments alone: a resumed run sees what an uninterrupted one would have seen.
    """
    draw = random.Random(seed)
    chosen: list[int] = []
    while len(chosen) < rollouts * prompts:
        chosen += draw.sample(range(rows), rows - rows % prompts)
    return chosen[: rollouts * prompts]


def refill(rows: int, config: Config, rollout: int) -> list[int]:
    """Row numbers that may replace some of a rollout's: all others, in an order drawn from the seed and the rollout."""
    own = set(order(rows, rollout + 1, config.prompts, config.seed)[rollout * config.prompts :])
    others = [row for row in range(rows) if row not in own]
    random.Random(f"{config.seed}:{rollout}").shuffle(others)
    return others


def arranged(rollout: Sequence[int], mini_batch: int, world: int) -> list[int]:
    """The rows of a rollout so that the mini-batches are the same for any number of ranks.

    A rank gets the next part of a rollout, and splits it into parts of its mini-batches: so what it gets has to be its
    share of the first mini-batch, then of the second. Two ranks and mini-batches of four: 0 1 4 5, and 2 3 6 7.
    """
    share = mini_batch // world
    return [
        rollout[start + rank * share + place]
        for rank in range(world)
        for start in range(0, len(rollout), mini_batch)
        for place in range(share)
    ]


def rollout_rows(train: Sequence[Row], config: Config, world: int) -> Dataset:
    """The data set of the trainer: one epoch of it is the whole run, in order."""
    chosen = order(len(train), config.rollouts, config.prompts, config.seed)
    rollouts = [chosen[start : start + config.prompts] for start in range(0, len(chosen), config.prompts)]
    dealt = [row for rollout in rollouts for row in arranged(rollout, config.mini_batch, world)]
    return Dataset.from_list(list(train)).select(dealt)
