"""Other ways to fuse a base and a checkpoint than the linear one of the paper: by mergekit, a whole tensor at a time.

`alpha` is slerp's t, and otherwise the share of the change from the base that is added to it: of what is left of that
change, since ties keeps the `density` largest elements of each tensor, and dare a random `density` of them, scaled up
to the sum of all magnitudes. What both do to several changes that disagree does not arise: there is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stages.contract import StageError

#: Installs what is missing.
_EXTRA = "pip install 'rejuvenation-orchestrator[merge]'"


@dataclass(frozen=True)
class Merge:
    """One of mergekit's methods, with its parameters. `seed`: of what dare drops, for each tensor by its name."""

    method: str
    parameters: dict[str, Any]
    seed: int
    merge_tensors: Callable[..., Tensor]

    def __call__(self, name: str, sft: Tensor, base: Tensor) -> Tensor:
        """The merge of one whole tensor, computed and returned in float32."""
        digest = hashlib.sha256(f"{self.seed} {name}".encode()).digest()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(digest[:7], "little"))
            pair = [base.float(), sft.float()]
            return self.merge_tensors(pair, self.method, parameters=self.parameters, base_index=0, name=name)


def load(method: str, alpha: float, density: float | None, seed: int) -> Merge:
    """The method by its name in the config.

    Raises:
        StageError: mergekit is not installed.
    """
    try:
        from mergekit.merge_methods import merge_tensors
    except ImportError as error:
        raise StageError(f"rejuvenate.merge: {method} needs mergekit ({error}); {_EXTRA}") from None
    if method == "slerp":
        return Merge(method, {"t": alpha}, seed, merge_tensors)
    # A weight would cancel where mergekit normalises by the sum of the weights: with one change there is no other.
    return Merge(method, {"weight": 1.0, "density": density, "lambda": alpha}, seed, merge_tensors)
