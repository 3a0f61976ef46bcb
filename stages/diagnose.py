"""Stage `diagnose`: what differs between two checkpoints, as small parquet files that a report draws.

`reference` is the checkpoint to compare with: the base, or the one that a rejuvenation or an RL run started from.
Change is always checkpoint - reference. `[model]` stands for two columns or keys, one of `reference`, one of
`checkpoint`; logarithms are natural, entropies in nats. It publishes

    weights.parquet        a tensor (figures 2, 3, 11-13): tensor, layer, kind, shape, elements; of the change: norm,
                           mean, mean_absolute, deviation, largest (|.|), largest_at (its index), unchanged (elements
                           that are equal), beyond (elements further than `sigma` deviations from the mean), relative
                           (norm / norm_reference); norm_[model], rms_[model], max_[model] (|.|)
    changes.parquet        a bin of a tensor's |change|: tensor, lower, upper, negative, positive: how many changes of
                           either sign; with `unchanged` they are all elements. Empty bins are left out
    maps.parquet           a matrix: tensor, rows, columns of the map, largest: of |change| in each cell, row by row
    tokens.parquet         a response position (table 1): sample, t, y = x_(t+1), entropy_[model], log_p_[model] (of y),
                           confidence_[model] (probability of the likeliest token)
    ranks.parquet          a model and rank (figure 6): model, rank, then mean and quantiles over all positions of the
                           logit less the position's mean logit, and of the probability: logit_mean, logit_q05, ...
    distributions.parquet  a token at one of `shown` positions: sample, t, y, token, text, logit_[model], p_[model],
                           rank_[model]
    target_tokens.parquet  a token that is a target (figure 8): token, text, count
    targets.parquet        a target of the attribution (figure 9): target, sample, t, y, entropy_[model], and h_base,
                           h_sft of the attribution's own two models
    attribution_modules.parquet  a module that took part (figure 7): rank, module, layer, kind, neurons, positive,
                           negative: sums of the scores of either sign of all its neurons, mean over the targets
    attribution_neurons.parquet  one of the best neurons (figure 7): rank, module, layer, kind, index, score,
                           magnitude: means over all targets, 0 where it is not kept; targets: how many keep it
    concentration.parquet  a share of the neurons, the best of each target: share, held: the part of the whole
                           positive contribution (of all magnitudes, where sign is absolute) that they hold, mean over
                           the targets and quantiles held_q05, held_q50, held_q95; up to the attribution's `keep`
    resets.parquet         a module (figure 10): module, layer, kind, neurons, selected (at rho, by any target), ratio
    overlaps.parquet       a pair of samples: sample_a, sample_b, size_a, size_b, intersection, jaccard of the sets that
                           rho selects for each alone, and intersection_chance, jaccard_chance: what is expected of
                           random sets with the same numbers in every module
    sharpness.parquet      a loss around a model: model, along (none, random, change), direction, scale (s, with its
                           sign), nll, applied (norm of what really moved / norm of the matrices)

and `summary.json`. The seven from target_tokens to overlaps need an attribution; their sequences and the numbers of
their samples are the attribution's, which may have been made of another calibration set.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages.contract import Context, Seed

VERSION = 1
MAKES = ("diagnosis",)

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """What is measured, and how finely.

    Attributes:
        samples: rows of the calibration set, the first in file order.
        dtype: of parameters and computation; entropies, log-probabilities and changes are float32 in both.
        rho: fraction of all neurons that one target selects, as in `rejuvenate`, at most the attribution's `keep`;
            0 leaves out everything that needs an attribution.
        top: tokens of a distribution that are kept, the likeliest.
        shown: response positions whose distributions are kept, spread evenly over all of them.
        bins: of the histogram of |change|, a doubling.
        sigma: k of the share of changes beyond k standard deviations.
        map_cells: cells of a map of |change| along each side of a matrix, at most.
        top_neurons: neurons kept of the ranking by mean score.
        directions: random directions in which the loss is measured, beside that of the change.
        scales: sizes of the perturbations, relative to the norm of the weights; each is taken with both signs.
        sharpness_samples: of `samples`, the first, on which the loss is measured; 0 leaves the sharpness out.
        seed: of the random directions; GPU and CPU draw different ones.
    """

    samples: Count
    dtype: Literal["float32", "bfloat16"]
    rho: Annotated[float, Field(ge=0, le=1)]
    top: Count
    shown: Annotated[int, Field(ge=0)]
    bins: Literal[1, 2, 4, 8]
    sigma: Positive
    map_cells: Count
    top_neurons: Count
    directions: Annotated[int, Field(ge=0)]
    scales: Annotated[list[Positive], Field(min_length=1)]
    sharpness_samples: Annotated[int, Field(ge=0)]
    seed: Seed


def takes(config: Config) -> tuple[str, ...]:
    """An attribution says which neurons would be reset; at rho 0 none is asked for."""
    always = ("reference", "checkpoint", "calibration")
    return (*always, "attribution") if config.rho > 0 else always


def check(config: Config) -> list[str]:
    """What the types cannot say."""
    errors = []
    if config.sharpness_samples > config.samples:
        errors.append(f"sharpness_samples: {config.sharpness_samples}; allowed: at most samples, {config.samples}")
    if len(set(config.scales)) < len(config.scales):
        errors.append(f"scales: {config.scales} has one of them twice")
    return errors


def run(config: Config, context: Context) -> dict[str, Any]:
    """Compare the weights tensor by tensor, then what each model predicts. One model is in memory at a time."""
    from stages.diagnosis import comparison

    return comparison.run(config, context)
