"""GPU memory that a node of each stage needs. `training` and `engine` have the formulas.

Every load has to fit into a GPU. What is not on a GPU (rejuvenate, contamination, any stage without GPUs) has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.forecast import engine, training
from orchestrator.forecast.engine import VLLM_SHARE
from orchestrator.forecast.load import Load, Part
from orchestrator.forecast.placement import Placement
from orchestrator.forecast.shape import BYTES, Shape
from orchestrator.forecast.training import Step
from stages import batches
from stages.contract import Resources, StageError

#: Rows of logits that attribute and diagnose have at once, and float32 copies of them.
_ROWS, _COPIES = 256, 3
#: Activations of all layers that attribution keeps at most, and its scores in memory (stages.rejuvenation).
_KEPT, _SCORES = 2**31, 4 * 2**26
#: What diagnose moves of a matrix at once, in float32, with noise and copies (stages.diagnosis.perturbation).
_MOVED = 4 * 4 * 2**24


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A node's config, its model, and how it is run."""

    config: Mapping[str, Any]
    shape: Shape
    needs: Resources
    place: Placement


def of(stage: str, setting: Setting) -> list[Load]:
    """What its GPUs have to hold; nothing for a stage that has none, or of which nothing is known here."""
    return list(_STAGES[stage](setting)) if stage in _STAGES and setting.place.held > 0 else []


def micro_batch(key: str, batch: int, setting: Setting) -> int:
    """Sequences that a device has at once."""
    most = setting.needs.per_device_batch
    try:
        return batches.split(key, batch, most, setting.place.world)[0]
    except StageError:  # it is refused for that
        return min(most, -(-batch // setting.place.world))


def _sft(setting: Setting) -> Iterator[Load]:
    step = _step(setting, micro_batch("batch", setting.config["batch"], setting), setting.config["max_length"])
    yield Load(where="each GPU, in a step", parts=(*training.state(step), *training.working(step)))


def _grpo(setting: Setting) -> Iterator[Load]:
    """A step; the rollouts, if the engine sleeps in between; and the engine, here or on its own GPUs."""
    config, shape, needs = setting.config, setting.shape, setting.needs
    batch = config["mini_batch"] * config["completions"]
    length = config["max_prompt"] + config["max_new_tokens"]
    step = _step(setting, micro_batch("mini_batch", batch, setting), length)
    stays = [*training.state(step), *([training.reference(step)] if config["beta"] > 0 else [])]
    here = config["engine"] == "vllm" and needs.rollouts == "colocate"
    left = 1 - needs.engine_memory if here else 1.0
    working = tuple([*stays, *training.working(step)])
    yield Load(where="each training GPU, in a step", parts=working, share=1.0 if needs.sleep else left)
    if config["engine"] == "transformers":
        rows = -(-config["prompts"] * config["completions"] // setting.place.world)
        cache = engine.cache_of_rows(shape, config["compute_dtype"], rows, length)
        rollouts = tuple([*stays, *cache, training.reserve()])
        yield Load(where="each training GPU, in the rollouts", parts=rollouts)
        return
    if here:
        if needs.sleep:
            sent = Part(what="a tensor for the engine", bytes=4 * shape.embedding, how=f"4 x {shape.embedding:,}")
            rollouts = tuple([*stays, sent, training.reserve()])
            yield Load(where="each training GPU, in the rollouts", parts=rollouts, share=left)
        yield engine.vllm(
            shape, config["engine_dtype"], length=length, share=needs.engine_memory, where="the engine on each GPU"
        )
    else:
        yield engine.vllm(
            shape,
            config["engine_dtype"],
            length=length,
            tensor_parallel=needs.tensor_parallel,
            share=VLLM_SHARE,
            where="each GPU of the rollout server",
        )


def _evaluate(setting: Setting) -> Iterator[Load]:
    config, shape, needs = setting.config, setting.shape, setting.needs
    if config["engine"] == "transformers":
        yield engine.transformers(shape, config["dtype"], needs.per_device_batch, shape.positions, "each copy's GPU")
    else:
        yield engine.vllm(
            shape,
            config["dtype"],
            length=shape.positions,
            tensor_parallel=needs.tensor_parallel,
            share=VLLM_SHARE,
            where="each GPU of the engine",
        )


def _attribute(setting: Setting) -> Iterator[Load]:
    """One model at a time, its layers on all GPUs; rows of gradients for a batch of the longest samples."""
    shape, size = setting.shape, BYTES[setting.config["dtype"]]
    rows = setting.needs.per_device_batch * shape.positions
    row = size * (4 * shape.width + 2 * shape.query + 2 * shape.kv + 4 * shape.mlp)
    how = f"2 x {rows} rows x {row:,} bytes + {_KEPT / 2**30:.0f} GiB"
    work = Part(what="activations and gradients", bytes=2 * rows * row + _KEPT, how=how)
    scores = Part(what="scores", bytes=_SCORES, how="256 MiB")
    parts = (_spread(setting), work, scores, _logits(shape), training.reserve())
    yield Load(where="each GPU", parts=parts)


def _diagnose(setting: Setting) -> Iterator[Load]:
    """One model at a time, its layers on all GPUs; forward passes alone."""
    shape, size = setting.shape, BYTES[setting.config["dtype"]]
    rows = setting.needs.per_device_batch * shape.positions
    row = size * (4 * shape.width + 2 * shape.query + 2 * shape.kv + 3 * shape.mlp)
    work = Part(what="activations", bytes=rows * row, how=f"{rows} rows x {row:,} bytes")
    moved = Part(what="directions", bytes=_MOVED, how="256 MiB")
    yield Load(where="each GPU", parts=(_spread(setting), work, moved, _logits(shape), training.reserve()))


def _pretrain(setting: Setting) -> Iterator[Load]:
    """A plain loop: all rows of a batch at once, all of their activations and logits."""
    config, shape = setting.config, setting.shape
    step = Step(
        shape=shape,
        world=1,
        sharded=False,
        dtype="float32",
        compute_dtype=config["dtype"],
        sequences=config["batch"],
        length=config["length"],
        checkpointing=False,
    )
    logits = Part(
        what="logits",
        bytes=_COPIES * 4 * step.tokens * shape.vocabulary,
        how=f"{_COPIES} x 4 x {step.tokens} x {shape.vocabulary:,}",
    )
    yield Load(where="the GPU, in a step", parts=(*training.state(step), *training.working(step), logits))


def _step(setting: Setting, sequences: int, length: int) -> Step:
    needs, config = setting.needs, setting.config
    return Step(
        shape=setting.shape,
        world=setting.place.world,
        sharded=needs.sharding == "fsdp2",
        dtype=config["dtype"],
        compute_dtype=config["compute_dtype"],
        sequences=sequences,
        length=length,
        checkpointing=recomputes(setting),
    )


def recomputes(setting: Setting) -> bool:
    """Whether activations are computed again: as it is said, else where there are GPUs."""
    chosen = setting.needs.checkpointing
    return setting.place.gpus > 0 if chosen is None else chosen


def _spread(setting: Setting) -> Part:
    size, gpus = BYTES[setting.config["dtype"]], max(1, setting.place.gpus)
    over = f" / {gpus}" if gpus > 1 else ""
    return Part(what="weights", bytes=size * setting.shape.parameters / gpus, how=f"{size}P{over}", exact=gpus == 1)


def _logits(shape: Shape) -> Part:
    held = _COPIES * 4 * _ROWS * shape.vocabulary
    return Part(what="logits", bytes=held, how=f"{_COPIES} x 4 x {_ROWS} x {shape.vocabulary:,}")


_STAGES: dict[str, Callable[[Setting], Iterator[Load]]] = {
    "sft": _sft,
    "grpo": _grpo,
    "evaluate": _evaluate,
    "attribute": _attribute,
    "diagnose": _diagnose,
    "pretrain": _pretrain,
}
