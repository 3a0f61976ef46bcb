"""An attribution artifact as a diagnosis reads it: its targets, its summary, and whether it is of this model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from stages.contract import StageError
from stages.diagnosis.forward import Sample
from stages.rejuvenation import attribution_files as files
from stages.rejuvenation.architecture import Module
from stages.rejuvenation.compatibility import Pair
from stages.rejuvenation.selection import Selection, read_summary


@dataclass(frozen=True)
class Attributed:
    """`modules` are all of the model, `kinds` those that took part; `neurons` are those of them.

    `samples[i]` is calibration sample `numbers[i]` of the attribution with its targets; `targets` are the rows of its
    targets.parquet, in the same order.
    """

    folder: Path
    modules: list[Module]
    kinds: list[str]
    neurons: int
    keep: float
    per_module: bool
    absolute: bool
    numbers: list[int]
    samples: list[Sample]
    targets: dict[str, np.ndarray]

    @property
    def sizes(self) -> np.ndarray:
        """Neurons of each module."""
        return np.array([module.neurons for module in self.modules])

    @property
    def starts(self) -> np.ndarray:
        """Where each module's neurons begin among all neurons of the model."""
        return np.cumsum(self.sizes) - self.sizes

    def number(self, selection: Selection) -> np.ndarray:
        """Which of `modules` each selected neuron is in.

        Raises:
            StageError: the model has no such module, or a smaller one.
        """
        order = {module.name: number for number, module in enumerate(self.modules)}
        foreign = [name for name in selection.names if name not in order]
        if foreign:
            raise StageError(f"{self.folder}: its {foreign[0]} does not exist in the checkpoint")
        number = np.array([order[name] for name in selection.names], dtype=np.int64)[selection.number]
        outside = np.flatnonzero(selection.index >= self.sizes[number])
        if len(outside):
            name = self.modules[number[outside[0]]].name
            raise StageError(f"{self.folder}: its {name} is larger than that of the checkpoint")
        return number

    def flat(self, selection: Selection) -> np.ndarray:
        """The place of each selected neuron among all neurons of the model."""
        return self.starts[self.number(selection)] + selection.index

    def weights(self, scores: np.ndarray) -> np.ndarray:
        """What the ranking goes by, in float64: the score, or its magnitude."""
        return np.abs(scores.astype(np.float64)) if self.absolute else scores.astype(np.float64)


def open_attribution(folder: Path, pair: Pair, rho: float) -> Attributed:
    """Read everything but the scores.

    Raises:
        StageError: it cannot be read, is of another model, or keeps less than `rho`.
    """
    summary = read_summary(folder)
    if rho > summary["keep"]:
        raise StageError(f"diagnose.rho: {rho}; allowed: at most attribute.keep, which is {summary['keep']}")
    neurons = sum(module.neurons for module in pair.modules if module.kind in summary["modules"])
    if summary["neurons"] != neurons:
        kinds = ", ".join(summary["modules"])
        raise StageError(
            f"{folder}: attribution of {summary['neurons']} neurons, but the checkpoint has {neurons} in {kinds}"
        )
    targets = {name: column.to_numpy() for name, column in _columns(folder / files.TARGETS).items()}
    tokens = _columns(folder / files.TOKENS)
    input_ids = dict(zip(tokens["sample"].to_pylist(), tokens["input_ids"].to_pylist(), strict=True))
    largest = max(max(ids) for ids in input_ids.values())
    if largest >= pair.config.vocab_size:
        raise StageError(f"{folder}: token {largest} has no embedding (vocab_size {pair.config.vocab_size})")
    numbers = np.unique(targets["sample"]).tolist()
    return Attributed(
        folder=folder,
        modules=pair.modules,
        kinds=summary["modules"],
        neurons=neurons,
        keep=summary["keep"],
        per_module=summary["ranking"] == "module",
        absolute=summary["sign"] == "absolute",
        numbers=numbers,
        samples=[Sample(input_ids[n], targets["t"][targets["sample"] == n].tolist()) for n in numbers],
        targets=targets,
    )


def _columns(file: Path) -> dict[str, pa.ChunkedArray]:
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise StageError(f"{file}: cannot be read ({error})") from None
    return dict(zip(table.column_names, table.columns, strict=True))
