"""The whole comparison of two checkpoints: first what can be refused, then weights, then one model at a time."""

from __future__ import annotations

import gc
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.contract import Context, StageError
from stages.diagnosis import contributions, outputs, overlap, sharpness, token_files, weight_changes
from stages.diagnosis.attributed import Attributed, open_attribution
from stages.diagnosis.forward import Sample, Tick
from stages.diagnosis.outputs import Outputs
from stages.diagnosis.perturbation import Around
from stages.modeling.checkpoint import load_model
from stages.rejuvenation import calibration, compatibility
from stages.rejuvenation.compatibility import Pair

if TYPE_CHECKING:
    from stages.diagnose import Config

#: The tick of the part of the work that the note names.
Ticks = Callable[[str], Tick]


@dataclass(frozen=True)
class _Task:
    """What is compared. `shown` are numbers of response positions, `near` the samples of the sharpness."""

    config: Config
    pair: Pair
    attributed: Attributed | None
    samples: list[Sample]
    near: list[Sample]
    shown: list[int]
    loss: sharpness.Settings

    @property
    def steps(self) -> int:
        """Ticks of everything: a tensor, or a pass over a sample."""
        at_targets = self.attributed.samples if self.attributed else []
        passes = _counted(self.samples) + _counted(at_targets) + self.loss.evaluations * _counted(self.near)
        return len(self.pair.checkpoint.parameters) + 2 * passes


@dataclass(frozen=True)
class _Observed:
    """What was seen of both models: predictions, entropies at the attribution's targets, losses around them."""

    outputs: dict[str, Outputs] = field(default_factory=dict)
    at_targets: dict[str, np.ndarray] = field(default_factory=dict)
    losses: list[dict[str, Any]] = field(default_factory=list)


def run(config: Config, context: Context) -> dict[str, Any]:
    """Write all files of a diagnosis and return the scalars of its summary."""
    task, folder = _prepare(config, context), context.output
    ticks = _ticks(context, task.steps)
    summary: dict[str, Any] = {"samples": config.samples, "rho": config.rho}
    if task.attributed:
        summary |= contributions.write(task.attributed, folder, config.rho, config.top_neurons, task.pair.tokenizer)
        summary |= overlap.write(task.attributed, folder, config.rho)
    settings = weight_changes.Settings(bins=config.bins, sigma=config.sigma, cells=config.map_cells)
    rows = weight_changes.measure(task.pair, settings, folder, ticks("weights"), threads=context.resources.cpus)
    summary |= weight_changes.summarise(rows)
    seen = _observe(task, context, sharpness.matrix_norms(rows), ticks)
    token_files.write_tokens(folder, task.samples, seen.outputs)
    token_files.write_ranks(folder, seen.outputs)
    token_files.write_distributions(folder, task.samples, task.shown, seen.outputs, task.pair.tokenizer)
    summary |= token_files.summarise(seen.outputs)
    if task.attributed:
        summary |= token_files.write_targets(folder, task.attributed, seen.at_targets)
    if task.near:
        sharpness.write(folder, seen.losses)
        summary |= sharpness.summarise(seen.losses, task.loss)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return {name: value for name, value in summary.items() if not isinstance(value, dict | list)}


def _prepare(config: Config, context: Context) -> _Task:
    """Open all inputs.

    Raises:
        StageError: they do not match each other or the config.
    """
    pair = compatibility.open_pair(context.inputs["reference"], context.inputs["checkpoint"], fused=False)
    if config.top > pair.config.vocab_size:
        raise StageError(f"diagnose.top: {config.top}; allowed: at most the vocabulary, {pair.config.vocab_size}")
    attributed = None
    if config.rho > 0:
        folder = context.inputs["attribution"].path
        assert folder is not None, "an attribution is always an artifact"
        attributed = open_attribution(folder, pair, config.rho)
    sequences = calibration.load(context.inputs["calibration"], pair, config.samples, key="diagnose.samples")
    samples = [Sample(item.input_ids, calibration.candidates(item)) for item in sequences]
    near = samples[: config.sharpness_samples]
    if near and not _counted(near):
        raise StageError(f"diagnose.sharpness_samples: {len(near)}, but these rows have no response token")
    return _Task(
        config=config,
        pair=pair,
        attributed=attributed,
        samples=samples,
        near=near,
        shown=outputs.spread(sum(len(sample.positions) for sample in samples), config.shown),
        loss=sharpness.Settings(directions=config.directions, scales=config.scales, seed=config.seed),
    )


def _observe(task: _Task, context: Context, norms: dict[str, float], ticks: Ticks) -> _Observed:
    """Load one model after the other and measure everything that needs it."""
    seen, batch = _Observed(), context.resources.per_device_batch
    for name in token_files.MODELS:
        model = load_model(context.inputs[name], dtype=task.config.dtype, spread=True)
        tick = ticks(f"{name}: predictions")
        seen.outputs[name] = outputs.measure(model, task.samples, task.shown, task.config.top, batch, tick)
        if task.attributed:
            tick = ticks(f"{name}: entropies at targets")
            seen.at_targets[name] = outputs.entropies(model, task.attributed.samples, batch, tick)
        if task.near:
            around = Around(task.pair, name, norms, task.config.seed)
            tick = ticks(f"{name}: loss around it")
            seen.losses.extend(sharpness.measure(model, around, task.near, task.loss, batch, tick))
        del model
        gc.collect()  # a model has reference cycles, and there may be room for one
    return seen


def _counted(samples: list[Sample]) -> int:
    """How many samples a pass goes through: those with a position."""
    return sum(bool(sample.positions) for sample in samples)


def _ticks(context: Context, total: int) -> Ticks:
    """Progress over everything, one step a tick."""
    steps = itertools.count(1)

    def of_part(note: str) -> Tick:
        return lambda: context.progress.update(next(steps), total, note=note)

    return of_part
