"""Teacher-forced forward passes over samples of different length, several in one pass.

Samples are packed by length and padded on the right: a causal model cannot look there, so no mask is needed, and what
comes out does not depend on how they were packed, but for rounding. Shapes: B samples of a pass, L their positions,
C the positions asked for, V vocabulary, D residual width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

#: Rows of logits in memory at once.
ROWS = 256

#: Called after each sample.
Tick = Callable[[], None]


@dataclass(frozen=True)
class Sample:
    """Token ids, and the ascending positions t at which the prediction of x_{t+1} is wanted."""

    input_ids: list[int]
    positions: list[int]

    @property
    def y(self) -> list[int]:
        """The tokens that the positions predict."""
        return [self.input_ids[t + 1] for t in self.positions]


def packs(lengths: list[int], batch: int) -> list[list[int]]:
    """Numbers of the samples of each pass, longest first, so that what does not fit fails at once; none of length 0.

    >>> packs([3, 9, 0, 4], 2)
    [[1, 3], [0]]
    """
    order = sorted((n for n, length in enumerate(lengths) if length), key=lambda n: -lengths[n])
    return [order[start : start + batch] for start in range(0, len(order), batch)]


@torch.no_grad()
def logits(model: PreTrainedModel, samples: list[Sample], batch: int) -> Iterator[tuple[int, int, Tensor]]:
    """Number of the sample, number of its first position, and [C, V] float32 logits of up to `ROWS` positions.

    Only what is asked for is unembedded: the logits of a whole sample need not fit. Positions after the last one that
    is asked for are not computed.
    """
    lengths = [sample.positions[-1] + 1 if sample.positions else 0 for sample in samples]
    for pack in packs(lengths, batch):
        ids_BL = torch.zeros(len(pack), max(lengths[n] for n in pack), dtype=torch.long)
        for row, n in enumerate(pack):
            ids_BL[row, : lengths[n]] = torch.tensor(samples[n].input_ids[: lengths[n]])
        hidden_BLD = model.model(input_ids=ids_BL.to(model.device), use_cache=False).last_hidden_state
        for row, n in enumerate(pack):
            hidden_CD = hidden_BLD[row, samples[n].positions]
            for start in range(0, len(hidden_CD), ROWS):
                yield n, start, model.lm_head(hidden_CD[start : start + ROWS]).float()


def mean_nll(model: PreTrainedModel, samples: list[Sample], batch: int, tick: Tick) -> float:
    """Mean negative log-likelihood in nats of the predicted tokens, over all positions of all samples; may be NaN."""
    total = 0.0
    for number, start, logits_CV in logits(model, samples, batch):
        y_C = torch.tensor(samples[number].y[start : start + len(logits_CV)], device=logits_CV.device)
        total += torch.nn.functional.cross_entropy(logits_CV, y_C, reduction="none").double().sum().item()
        if start + len(logits_CV) == len(samples[number].positions):
            tick()
    return total / sum(len(sample.positions) for sample in samples)
