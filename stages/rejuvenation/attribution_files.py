"""The files of an attribution artifact: tokens, targets and neurons as parquet.

`neurons.parquet` has one row group a target, largest score first, so that a reader with a smaller budget reads the
head of each row group and nothing else: at 4B parameters the whole has 100 million rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from stages.contract import StageError
from stages.data.tokens import Sequence
from stages.rejuvenation import ranking
from stages.rejuvenation.architecture import Module
from stages.rejuvenation.targets import Target

TOKENS = "tokens.parquet"
TARGETS = "targets.parquet"
NEURONS = "neurons.parquet"
SUMMARY = "summary.json"

_TOKENS = pa.schema(
    [("sample", pa.int32()), ("input_ids", pa.list_(pa.int32())), ("response_mask", pa.list_(pa.int8()))]
)
_TARGETS = pa.schema(
    [("sample", pa.int32()), ("t", pa.int32()), ("y", pa.int32())]
    + [(name, pa.float64()) for name in ("h_base", "h_sft", "z", "z_reconstructed")]
)
_NEURONS = pa.schema([("target", pa.int32()), ("module", pa.string()), ("index", pa.int32()), ("score", pa.float32())])


def write_tokens(folder: Path, sequences: list[Sequence]) -> None:
    """One row a calibration sample, in file order."""
    columns = {
        "sample": range(len(sequences)),
        "input_ids": [item.input_ids for item in sequences],
        "response_mask": [item.response_mask for item in sequences],
    }
    pq.write_table(pa.table({k: list(v) for k, v in columns.items()}, schema=_TOKENS), folder / TOKENS)


def write_targets(folder: Path, targets: list[list[Target]], z: list[float], z_reconstructed: list[float]) -> None:
    """One row a target, ordered by sample and t. `targets[s]` are sample s's; `z` runs over all of them."""
    flat = [(sample, target) for sample, chosen in enumerate(targets) for target in chosen]
    columns = {
        "sample": [sample for sample, _ in flat],
        **{name: [getattr(target, name) for _, target in flat] for name in ("t", "y", "h_base", "h_sft")},
        "z": z,
        "z_reconstructed": z_reconstructed,
    }
    pq.write_table(pa.table(columns, schema=_TARGETS), folder / TARGETS)


class Layout:
    """Where each module's neurons lie among all neurons: flat index <-> (module, index)."""

    def __init__(self, modules: list[Module]) -> None:
        self.names = [module.name for module in modules]
        self.ends = np.cumsum([module.neurons for module in modules])
        self.starts = self.ends - np.array([module.neurons for module in modules])

    def split(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the module and index within it, for flat indices."""
        module = np.searchsorted(self.ends, flat, side="right")
        return module, flat - self.starts[module]


class NeuronWriter:
    """Writes `neurons.parquet`: the `keep` best neurons of one target after the other. `kept`: rows so far."""

    def __init__(self, folder: Path, modules: list[Module], *, keep: int) -> None:
        self.kept = 0
        self._targets = 0
        self._keep = keep
        self._layout = Layout(modules)
        self._file = pq.ParquetWriter(folder / NEURONS, _NEURONS)

    def __enter__(self) -> NeuronWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, scores_NM: Tensor) -> None:
        """Add N targets, given the scores of all M neurons. One that has no positive score has no row group."""
        for scores_M in scores_NM:
            best = ranking.top_positive(scores_M, self._keep)
            if len(best):
                self._write_group(best.cpu().numpy(), scores_M[best].cpu().numpy())
            self._targets += 1

    def _write_group(self, flat: np.ndarray, scores: np.ndarray) -> None:
        number, index = self._layout.split(flat)
        module = pa.DictionaryArray.from_arrays(number.astype(np.int32), self._layout.names).cast(pa.string())
        target = np.full(len(flat), self._targets, dtype=np.int32)
        table = pa.table([target, module, index.astype(np.int32), scores], schema=_NEURONS)
        self._file.write_table(table, row_group_size=len(flat))
        self.kept += len(flat)


def read_heads(folder: Path, count: int) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """For each target, its `count` best neurons: names of modules, number of the module in them, index.

    Raises:
        StageError: the file is damaged.
    """
    try:
        file = pq.ParquetFile(folder / NEURONS, read_dictionary=["module"])
        for group in range(file.num_row_groups):
            head = next(file.iter_batches(batch_size=count, row_groups=[group], columns=["module", "index"]))
            module = head.column("module")
            yield module.dictionary.to_pylist(), module.indices.to_numpy(), head.column("index").to_numpy()
    except (OSError, pa.ArrowInvalid) as error:
        raise StageError(f"{folder / NEURONS}: cannot be read ({error})") from None
