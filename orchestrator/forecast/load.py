"""What one GPU holds at the moment when it holds most: parts with their arithmetic, in bytes.

A part is exact, or a bound that is not far off: activations and what an allocator loses cannot be counted to the byte.
"""

from __future__ import annotations

from dataclasses import dataclass

#: What `gpu_memory` counts in. A GPU that is sold as 80 GB has 85.9e9 bytes, a driver and its context included.
GB = 1e9

#: Of a process: CUDA's context, NCCL's buffers, and what the allocator cannot use. An assumption.
RESERVE = 2e9


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something that lies in a GPU's memory. `how` is the arithmetic, `exact` whether it is more than a bound."""

    what: str
    bytes: float
    how: str
    exact: bool = False

    def __str__(self) -> str:
        return f"{self.what} {self.how} = {self.bytes / GB:.2f}"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a GPU has to hold at once.

    Attributes:
        where: which GPU, and when.
        share: of the GPU's memory that there is for it: the rest is an engine's, or kept free by one.
        room: what the rest of that share is good for: bytes of one more of `each`.
    """

    where: str
    parts: tuple[Part, ...]
    share: float = 1.0
    each: str = ""
    room: float = 0.0

    @property
    def bytes(self) -> float:
        return sum(part.bytes for part in self.parts)

    @property
    def needed(self) -> float:
        """The GPU memory, in GB, with which it fits."""
        return self.bytes / self.share / GB

    def fits(self, memory: float) -> bool:
        """Whether a GPU of so many GB is enough."""
        return self.needed <= memory


def needed(loads: list[Load]) -> float:
    """The GPU memory, in GB, with which all of them fit; 0 without any."""
    return max((load.needed for load in loads), default=0.0)
