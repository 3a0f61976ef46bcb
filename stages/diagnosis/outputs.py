"""What one model predicts at every response position: entropy, probability of the token that follows, top tokens.

Suffixes: P response positions of all samples in order of sample and position, S the few of them that are shown whole,
K ranks, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from stages.contract import StageError
from stages.diagnosis import forward
from stages.diagnosis.forward import Sample, Tick


@dataclass(frozen=True)
class Outputs:
    """Predictions of one model. Entropies and log-probabilities are in nats.

    `centred_PK` are the K largest logits relative to the mean logit of their position, `p_PK` their probabilities.
    """

    entropy_P: np.ndarray
    log_p_P: np.ndarray
    confidence_P: np.ndarray
    centred_PK: np.ndarray
    p_PK: np.ndarray
    shown_SV: np.ndarray

    @classmethod
    def empty(cls, positions: int, ranks: int, shown: int, vocabulary: int) -> Outputs:
        """Room for that many, all NaN."""
        shapes = [(positions,)] * 3 + [(positions, ranks)] * 2 + [(shown, vocabulary)]
        return cls(*(np.full(shape, np.nan, dtype=np.float32) for shape in shapes))


def spread(positions: int, count: int) -> list[int]:
    """`count` of the P positions, the middles of equal parts; all, if there are no more. `spread(9, 3)` is [1, 4, 7].

    Chosen before anything is known of the predictions, so that what is shown is not what looks best.
    """
    count = min(count, positions)
    return [(2 * part + 1) * positions // (2 * count) for part in range(count)]


def measure(
    model: PreTrainedModel, samples: list[Sample], shown: list[int], ranks: int, batch: int, tick: Tick
) -> Outputs:
    """Predictions at all positions of the samples; `shown` are numbers of positions among the P.

    Raises:
        StageError: finite weights overflowed in the forward pass.
    """
    starts = np.cumsum([0, *(len(sample.positions) for sample in samples)])
    found = Outputs.empty(int(starts[-1]), ranks, len(shown), model.config.vocab_size)
    for number, start, logits_CV in forward.logits(model, samples, batch):
        first = int(starts[number]) + start
        span = slice(first, first + len(logits_CV))
        y_C = torch.tensor(samples[number].y[start : start + len(logits_CV)], device=logits_CV.device)
        _fill(found, span, logits_CV, y_C)
        for row, position in enumerate(shown):
            if span.start <= position < span.stop:
                found.shown_SV[row] = logits_CV[position - first].cpu().numpy()
        if not np.isfinite(found.entropy_P[span]).all():
            raise StageError(f"calibration row {number + 1}: the token entropy is not finite")
        if start + len(logits_CV) == len(samples[number].positions):
            tick()
    return found


def entropies(model: PreTrainedModel, samples: list[Sample], batch: int, tick: Tick) -> np.ndarray:
    """Entropies in nats at all positions of the samples."""
    return measure(model, samples, [], 1, batch, tick).entropy_P


def _fill(found: Outputs, span: slice, logits_CV: Tensor, y_C: Tensor) -> None:
    """The numbers of C consecutive positions."""
    log_p_CV = torch.log_softmax(logits_CV, dim=-1)
    best_CK = torch.topk(logits_CV, found.p_PK.shape[1], dim=-1)
    p_CK = log_p_CV.gather(1, best_CK.indices).exp()
    columns = {
        "entropy_P": -(log_p_CV.exp() * log_p_CV).sum(-1),
        "log_p_P": log_p_CV.gather(1, y_C[:, None])[:, 0],
        "confidence_P": p_CK[:, 0],
        "centred_PK": best_CK.values - logits_CV.mean(-1, keepdim=True),
        "p_PK": p_CK,
    }
    for name, values in columns.items():
        getattr(found, name)[span] = values.cpu().numpy()
