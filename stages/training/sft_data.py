"""What supervised fine-tuning trains on, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from stages import rows
from stages.contract import Input, StageError
from stages.data.tokens import Sequence, sequence
from stages.sft import Config

#: The label of a token that is not trained on.
IGNORED = -100


@dataclass(frozen=True)
class Demonstrations:
    """Rows with token ids and labels (prompt tokens have label -100), and how many were longer than is allowed."""

    data: Dataset
    overlong: int

    def __len__(self) -> int:
        return len(self.data)


def load(source: Input, tokenizer: PreTrainedTokenizerBase, config: Config) -> Demonstrations:
    """The first `config.samples` demonstrations (all if None), those that are too long treated as the config says.

    Raises:
        StageError: there are fewer rows than `samples`, some are longer than `max_length` tokens and must not be, or
            those that are left make no batch.
    """
    given = rows.load(source, config.samples)
    if config.samples is not None and len(given) < config.samples:
        where = source.path or source.hub
        raise StageError(f"samples: {config.samples}, but {where} has only {len(given)} rows")
    sequences = [sequence(tokenizer, row["prompt"], row["completion"]) for row in given]
    too_long = [i for i, each in enumerate(sequences) if len(each.input_ids) > config.max_length]
    if too_long and config.overlong == "error":
        first = too_long[0]
        raise StageError(
            f"max_length: {config.max_length}, but {len(too_long)} of {len(sequences)} rows are longer; "
            f"the first is row {first + 1} with {len(sequences[first].input_ids)} tokens; "
            "overlong=cut or drop trains without their ends, or without them"
        )
    if config.overlong == "drop":
        sequences = [each for each in sequences if len(each.input_ids) <= config.max_length]
    elif too_long:
        sequences = [cut(each, config.max_length) for each in sequences]
    if len(sequences) < config.batch:
        raise StageError(f"batch: {config.batch} sequences, but there are only {len(sequences)} rows")
    return Demonstrations(Dataset.from_dict(_columns(sequences)), len(too_long))


def cut(given: Sequence, length: int) -> Sequence:
    """The beginnings of prompt and response, `length` tokens together: as LLaMA-Factory cuts (its `infer_seqlen`).

    The shorter part is kept whole if it takes less than half of the room, else both are cut in proportion. Prompts of
    30 and responses of 90 tokens keep 30 and 50 of 80; of 60 and 90 they keep 32 and 48.
    """
    if len(given.input_ids) <= length:
        return given
    response = sum(given.response_mask)
    prompt = len(given.response_mask) - response
    if 2 * response < length:
        kept = response
    elif 2 * prompt < length:
        kept = min(response, length - prompt)
    else:
        kept = min(response, int(length * (response / (prompt + response))))
    before = min(prompt, length - kept)
    ids = given.input_ids[:before] + given.input_ids[prompt : prompt + kept]
    return Sequence(input_ids=ids, response_mask=[0] * before + [1] * kept)


def _columns(sequences: list[Sequence]) -> dict[str, list[np.ndarray]]:
    """As arrays: a hundred thousand rows are tens of millions of tokens, on every rank."""
    ids = [np.array(each.input_ids, dtype=np.int32) for each in sequences]
    masks = [np.array(each.response_mask, dtype=bool) for each in sequences]
    labels = [np.where(mask, row, IGNORED).astype(np.int32) for row, mask in zip(ids, masks, strict=True)]
    return {"input_ids": ids, "labels": labels}


def order(rows: int, batch: int, seed: int, epoch: int) -> list[int]:
    """Rows of one epoch: a permutation drawn from (seed, epoch), cut to whole batches. Nothing else decides it."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return torch.randperm(rows, generator=generator)[: rows // batch * batch].tolist()


class EpochOrder(torch.utils.data.Sampler[int]):
    """`order` as a sampler. Whoever trains sets `epoch` before each pass."""

    def __init__(self, rows: int, batch: int, seed: int) -> None:
        self.epoch = 0
        self._rows, self._batch, self._seed = rows, batch, seed

    def __len__(self) -> int:
        return self._rows // self._batch * self._batch

    def __iter__(self) -> Iterator[int]:
        return iter(order(self._rows, self._batch, self._seed, self.epoch))
