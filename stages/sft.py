"""The stage `sft`: supervised fine-tuning on demonstrations with TRL's SFTTrainer, one artifact per number of epochs.

Its identity is (base, data, recipe, epochs), however it was cut into jobs: a node of N epochs continues the published
artifact of k < N epochs of the same recipe from that one's training state, and ends with the weights of a run that
never stopped.

Publishes `model/` and `training.jsonl` (loss, entropy and accuracy per step); `state/` holds the optimizer and the rest
that a longer run continues from, and may be deleted.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from stages import batches
from stages.contract import Context, Resources, Seed

VERSION = 1
MAKES = ("checkpoint",)
CONTINUES = "epochs"
DISTRIBUTED = True
SAVES = True

Count = Annotated[int, Field(ge=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Config:
    """A recipe of supervised fine-tuning.

    Attributes:
        epochs: passes over the demonstrations. Each pass is a permutation drawn from (seed, epoch), cut to whole
            batches: what is left over differs from epoch to epoch.
        loss: mean over the response tokens of a batch of the negative log-likelihood (nll), or of the same times
            the token's own probability, not differentiated (dft, arXiv 2508.05629).
        learning_rate: of AdamW.
        schedule: of the learning rate; constant has no warm-up and no decay.
        batch: sequences per optimizer step, over all devices.
        max_length: tokens of prompt, completion and eos.
        overlong: what becomes of a longer row: `cut` as LLaMA-Factory does, prompt and response in proportion and
            without the eos; `drop`; or `error`.
        samples: rows, the first in file order; null takes all.
        seed: of the order of the rows.
        adam_beta1: decay of the first moment.
        adam_beta2: decay of the second moment.
        weight_decay: decoupled, per unit of learning rate.
        gradient_clip: largest global L2 norm of the gradient.
        dtype: of the parameters.
        compute_dtype: of matrix products; bfloat16 is autocast.
    """

    epochs: Count
    loss: Literal["nll", "dft"]
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["constant"]
    batch: Count
    max_length: Annotated[int, Field(ge=2)]
    overlong: Literal["cut", "drop", "error"]
    samples: Count | None
    seed: Seed
    adam_beta1: Beta
    adam_beta2: Beta
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_clip: Annotated[float, Field(gt=0)]
    dtype: Literal["float32"]
    compute_dtype: Literal["float32", "bfloat16"]


def takes(config: Config) -> tuple[str, ...]:
    return ("checkpoint", "demonstrations")


def fits(config: Config, resources: Resources, world: int) -> list[str]:
    """What keeps this recipe from running in `world` processes."""
    wrong = batches.misfit("batch", config.batch, world)
    return [] if wrong is None else [wrong]


def run(config: Config, context: Context) -> dict[str, Any]:
    """Train to the end of `config.epochs` and write the checkpoint; returns the means over the last epoch."""
    from stages.training import sft

    return sft.run(config, context)
