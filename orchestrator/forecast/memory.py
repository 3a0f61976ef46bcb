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


def _sft(setting: Setting) -> Iterator[Load]:
    step = _step(setting, "batch", setting.config["batch"], setting.config["max_length"])
    if step.share > 1:
        parts = (training.whole(step, "weights before they are cut"), training.state(step)[0], training.reserve())
        yield Load(where="each GPU, at the start", parts=parts)
    yield Load(where="each GPU, in a step", parts=(*training.state(step), *training.working(step)))


def _grpo(setting: Setting) -> Iterator[Load]:
    """The start, a step, the rollouts if the engine sleeps in between, and the engine, here or on GPUs of its own."""
    config, needs = setting.config, setting.needs
    length = config["max_prompt"] + config["max_new_tokens"]
    step = _step(setting, "mini_batch x completions", config["mini_batch"] * config["completions"], length)
    here = config["engine"] == "vllm" and needs.rollouts == "colocate"
    left = 1 - needs.engine_memory if here else 1.0
    awake = 1.0 if needs.sleep else left
    referred = config["beta"] > 0
    if step.share > 1:
        loaded = tuple(training.whole(step, f"{name} before it is cut") for name in ("policy", "reference"))
        if here and needs.sleep:  # it is started, and put to sleep, before there is a reference
            alone = (loaded[0], training.reserve())
            yield Load(where="each training GPU, when the engine starts", parts=alone, share=left)
        both = (*loaded[: 1 + referred], training.reserve())
        yield Load(where="each training GPU, at the start", parts=both, share=awake)
    stays = (*training.state(step), *([training.reference(step)] if referred else []))
    yield Load(where="each training GPU, in a step", parts=(*stays, *training.working(step)), share=awake)
    if config["engine"] == "transformers":
        rows = engine.cache_of_rows(setting.shape, config["compute_dtype"], needs.per_device_batch, length)
        yield Load(where="each training GPU, in the rollouts", parts=(*stays, *rows, training.reserve()))
        return
    if here and needs.sleep:
        sent = Part(what="a tensor for the engine", bytes=4 * setting.shape.embedding, how="the embedding, float32")
        yield Load(where="each training GPU, in the rollouts", parts=(*stays, sent, training.reserve()), share=left)
    yield _rollouts(setting, length)


def _rollouts(setting: Setting, length: int) -> Load:
    """The engine beside the policy, for sequences as long as rollouts are; or that of a server, for all positions."""
    config, shape, needs = setting.config, setting.shape, setting.needs
    if needs.rollouts == "colocate":
        where, share = "the engine on each GPU", needs.engine_memory
        return engine.vllm(shape, config["engine_dtype"], length=length, share=share, where=where)
    return engine.vllm(
        shape,
        config["engine_dtype"],
        length=shape.positions,
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


def _step(setting: Setting, key: str, batch: int, length: int) -> Step:
    """An optimizer step on `batch` sequences, split as the stage will split them."""
    needs, config, world = setting.needs, setting.config, setting.place.world
    try:
        sequences, micro_batches = batches.split(key, batch, needs.per_device_batch, world)
    except StageError:  # it is refused for that
        sequences, micro_batches = min(needs.per_device_batch, -(-batch // world)), 1
    return Step(
        shape=setting.shape,
        world=world,
        sharded=needs.sharding == "fsdp2",
        dtype=config["dtype"],
        compute_dtype=config["compute_dtype"],
        sequences=sequences,
        length=length,
        checkpointing=recomputes(setting),
        micro_batches=micro_batches,
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
