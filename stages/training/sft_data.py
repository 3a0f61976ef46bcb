"""What supervised fine-tuning trains on, and in which order."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from stages import rows
from stages.contract import Input, StageError
from stages.data.tokens import sequence

#: The label of a token that is not trained on.
IGNORED = -100


def load(source: Input, tokenizer: PreTrainedTokenizerBase, samples: int | None, max_length: int) -> Dataset:
    """Token ids and labels of the first `samples` demonstrations (all if None); prompt tokens have label -100.

    Raises:
        StageError: there are fewer rows than `samples`, or some are longer than `max_length` tokens.
    """
    demonstrations = rows.load(source, samples)
    if samples is not None and len(demonstrations) < samples:
        raise StageError(f"samples: {samples}, but {source.path or source.hub} has only {len(demonstrations)} rows")
    sequences = [sequence(tokenizer, row["prompt"], row["completion"]) for row in demonstrations]
    too_long = [i for i, each in enumerate(sequences) if len(each.input_ids) > max_length]
    if too_long:
        first = too_long[0]
        raise StageError(
            f"max_length: {max_length}, but {len(too_long)} of {len(sequences)} rows are longer; "
            f"the first is row {first + 1} with {len(sequences[first].input_ids)} tokens"
        )
    return Dataset.from_list(
        [
            {
                "input_ids": each.input_ids,
                "labels": [i if m else IGNORED for i, m in zip(each.input_ids, each.response_mask, strict=True)],
            }
            for each in sequences
        ]
    )


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
