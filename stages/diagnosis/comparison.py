"""The whole comparison of two checkpoints: first what can be refused, then weights, then one model at a time."""

from __future__ import annotations

import gc
import itertools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from stages.contract import Context, StageError
from stages.diagnosis import outputs, sharpness, token_files, weight_changes
from stages.diagnosis.forward import Sample, Tick
from stages.diagnosis.outputs import Outputs
from stages.modeling.checkpoint import load_model
from stages.rejuvenation import calibration, compatibility
from stages.rejuvenation.compatibility import Pair

if TYPE_CHECKING:
    from stages.diagnose import Config


def run(config: Config, context: Context) -> dict[str, Any]:
    """Write all files of a diagnosis and return the scalars of its summary."""
    pair = compatibility.open_pair(context.inputs["reference"], context.inputs["checkpoint"])
    sequences = calibration.load(context.inputs["calibration"], pair, config.samples, key="diagnose.samples")
    samples = [Sample(item.input_ids, calibration.candidates(item)) for item in sequences]
    near = samples[: config.sharpness_samples]
    _refuse(config, pair, near)
    loss = sharpness.Settings(directions=config.directions, scales=config.scales, seed=config.seed)

    parameters = pair.checkpoint.parameters
    ticks = _ticks(context, len(parameters) + 2 * _counted(samples) + 2 * loss.evaluations * _counted(near))
    settings = weight_changes.Settings(bins=config.bins, sigma=config.sigma, cells=config.map_cells)
    rows = weight_changes.measure(pair, settings, context.output, ticks("weights"))
    summary = {"samples": config.samples, "rho": config.rho, **weight_changes.summarise(rows)}

    shown = outputs.spread(sum(len(sample.positions) for sample in samples), config.shown)
    batch = context.resources.per_device_batch
    both: dict[str, Outputs] = {}
    losses: list[dict[str, Any]] = []
    for name in token_files.MODELS:
        model = load_model(context.inputs[name], dtype=config.dtype)
        both[name] = outputs.measure(model, samples, shown, config.top, batch, ticks(f"{name}: tokens"))
        if near:
            around = sharpness.Around(pair, name, sharpness.matrix_norms(rows), config.seed)
            losses += sharpness.measure(model, around, near, loss, batch, ticks(f"{name}: sharpness"))
        del model
        gc.collect()  # a model has reference cycles, and there may be room for one

    token_files.write_tokens(context.output, samples, both)
    token_files.write_ranks(context.output, both)
    token_files.write_distributions(context.output, samples, shown, both, pair.tokenizer)
    summary |= token_files.summarise(both)
    if near:
        sharpness.write(context.output, losses)
        summary |= sharpness.summarise(losses, loss)
    (context.output / "summary.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    return {name: value for name, value in summary.items() if not isinstance(value, dict | list)}


def _refuse(config: Config, pair: Pair, near: list[Sample]) -> None:
    """What the calibration set and the model say against the config.

    Raises:
        StageError: naming the key.
    """
    problems = []
    if config.top > pair.config.vocab_size:
        problems.append(f"diagnose.top: {config.top}; allowed: at most the vocabulary, {pair.config.vocab_size}")
    if near and not _counted(near):
        problems.append(f"diagnose.sharpness_samples: the first {len(near)} rows have no response token")
    if problems:
        raise StageError("\n".join(problems))


def _counted(samples: list[Sample]) -> int:
    """How many samples a pass goes through: those with a position."""
    return sum(bool(sample.positions) for sample in samples)


def _ticks(context: Context, total: int) -> Callable[[str], Tick]:
    """Progress over everything, one step a tick: `_ticks(context, total)(note)` is the tick of one part."""
    steps = itertools.count(1)

    def of_part(note: str) -> Tick:
        return lambda: context.progress.update(next(steps), total, note=note)

    return of_part
