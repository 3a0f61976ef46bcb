"""Packing: the tokens of several samples in one pass without padding, and the rows their targets' gradients live on.

A causal model cannot look past a target, so the gradient of the logit at t lives on the positions 0..t of its sample
and nowhere else. N targets have R = sum(t + 1) such rows; all linear layers see them as one matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class Passage:
    """One sample of a pass: its token ids, the ascending positions t of its targets, and the tokens y* they score."""

    input_ids: list[int]
    positions: list[int]
    y: list[int]

    @property
    def length(self) -> int:
        """Tokens that matter: up to the last target."""
        return self.positions[-1] + 1

    @property
    def rows(self) -> int:
        return sum(t + 1 for t in self.positions)


@dataclass(frozen=True)
class Packing:
    """Where S tokens, N targets and R rows of a pass lie.

    Attributes:
        lengths: tokens of each sample; sample b's are `spans[b]` among the S.
        sample: of each target.
        t: position of each target in its sample.
        starts: first row of each target.
        token_R: row -> its token among the S.
        last_N: target -> its last row, that of its own position.
        at_N: target -> the token at its position.
    """

    lengths: list[int]
    sample: list[int]
    t: list[int]
    starts: list[int]
    token_R: Tensor
    last_N: Tensor
    at_N: Tensor

    @classmethod
    def of(cls, passages: list[Passage]) -> Packing:
        """The packing of the samples' prefixes, one after the other."""
        lengths = [passage.length for passage in passages]
        first = [0, *accumulate(lengths)]
        sample = [b for b, passage in enumerate(passages) for _ in passage.positions]
        t = [position for passage in passages for position in passage.positions]
        ends = list(accumulate(position + 1 for position in t))
        token_R = torch.cat([torch.arange(first[b], first[b] + p + 1) for b, p in zip(sample, t, strict=True)])
        last_N = torch.tensor(ends) - 1
        starts = [0, *ends[:-1]]
        return cls(lengths, sample, t, starts, token_R=token_R, last_N=last_N, at_N=token_R[last_N])

    @property
    def spans(self) -> list[slice]:
        ends = list(accumulate(self.lengths))
        return [slice(end - length, end) for end, length in zip(ends, self.lengths, strict=True)]

    @property
    def row_counts(self) -> Tensor:
        """Rows of each target, [N]."""
        return torch.tensor([t + 1 for t in self.t])

    def to(self, device: torch.device) -> Packing:
        """The same, with its indices where a layer lives."""
        moved = (index.to(device) for index in (self.token_R, self.last_N, self.at_N))
        return Packing(self.lengths, self.sample, self.t, self.starts, *moved)


def passes(passages: list[Passage], *, rows: int, targets: int) -> Iterator[list[tuple[int, Passage]]]:
    """Cut samples into passes of at most `rows` rows and `targets` targets, in order; each with its sample's number.

    A sample whose targets do not fit one pass is cut too; one target alone always is a pass.
    """
    batch: list[tuple[int, Passage]] = []
    used = count = 0
    for number, passage in enumerate(passages):
        start = 0
        for stop, t in enumerate(passage.positions):
            if count and (used + t + 1 > rows or count + 1 > targets):
                if stop > start:
                    batch.append((number, _part(passage, start, stop)))
                yield batch
                batch, used, count, start = [], 0, 0, stop
            used, count = used + t + 1, count + 1
        if len(passage.positions) > start:
            batch.append((number, _part(passage, start, len(passage.positions))))
    if batch:
        yield batch


def _part(passage: Passage, start: int, stop: int) -> Passage:
    return Passage(passage.input_ids, passage.positions[start:stop], passage.y[start:stop])
