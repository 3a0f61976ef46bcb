"""How a global batch is split over devices and micro-batches. The global batch is science; the split is not."""

from __future__ import annotations

from stages.contract import StageError


def split(key: str, batch: int, per_device: int, world: int) -> tuple[int, int]:
    """(sequences per device, micro-batches per optimizer step) that make up `batch` sequences exactly.

    `per_device` is the most that a device may take at once; the largest divisor of its share is taken.
    `split("batch", 1024, 8, 8)` is `(8, 16)`, `split("batch", 96, 20, 1)` is `(16, 6)`. `key` names the batch.
    """
    wrong = misfit(key, batch, world)
    if wrong is not None:
        raise StageError(wrong)
    share = batch // world
    micro = max(size for size in range(1, min(per_device, share) + 1) if share % size == 0)
    return micro, share // micro


def misfit(key: str, batch: int, world: int) -> str | None:
    """Why `batch` sequences cannot be shared out over `world` devices, and over how many they can; None if they can."""
    if batch % world == 0:
        return None
    possible = ", ".join(str(devices) for devices in range(1, batch + 1) if batch % devices == 0)
    return f"{key}={batch}: cannot be shared out equally over {world} devices; possible numbers of devices: {possible}"
