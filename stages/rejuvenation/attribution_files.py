"""The files of an attribution artifact: tokens, targets, modules and neurons as parquet.

`neurons.parquet` has one row group a target, the best neuron first, so that a reader with a smaller budget reads the
head of each row group and nothing else: at 4B parameters the whole has 100 million rows.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from stages.data.tokens import Sequence
from stages.rejuvenation.architecture import Module
from stages.rejuvenation.ranking import Ranking
from stages.rejuvenation.targets import Target

TOKENS = "tokens.parquet"
TARGETS = "targets.parquet"
MODULES = "modules.parquet"
NEURONS = "neurons.parquet"
SUMMARY = "summary.json"

_TOKENS = pa.schema(
    [("sample", pa.int32()), ("input_ids", pa.list_(pa.int32())), ("response_mask", pa.list_(pa.int8()))]
)
_TARGETS = pa.schema(
    [("sample", pa.int32()), ("t", pa.int32()), ("y", pa.int32())]
    + [(name, pa.float64()) for name in ("h_base", "h_sft", "z", "z_reconstructed")]
)
_MODULES = pa.schema(
    [("target", pa.int32()), ("module", pa.string()), ("positive", pa.float64()), ("negative", pa.float64())]
)
_NEURONS = pa.schema(
    [("target", pa.int32()), ("module", pa.dictionary(pa.int32(), pa.string()))]
    + [("index", pa.int32()), ("score", pa.float32())]
)


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


class ScoreWriter:
    """Writes `neurons.parquet` and `modules.parquet`, one target after the other, while the next ones are computed.

    `kept`: rows of `neurons.parquet` so far.
    """

    def __init__(self, folder: Path, ranking: Ranking, *, keep: float) -> None:
        self.kept = 0
        self._targets = 0
        self._keep = keep
        self._ranking = ranking
        self._layout = Layout(ranking.modules)
        # The names of modules are written as they are stored, as indices of a dictionary, and read as plain strings.
        self._neurons = pq.ParquetWriter(
            folder / NEURONS, _NEURONS, compression="zstd", use_dictionary=["target", "module"], store_schema=False
        )
        self._modules = pq.ParquetWriter(folder / MODULES, _MODULES)
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> ScoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._finish_writing()
        finally:
            self._thread.shutdown()
            self._neurons.close()
            self._modules.close()

    def write(self, scores_NM: Tensor) -> None:
        """Add N targets, given the scores of all M neurons. A target without a score that counts has no row group."""
        self._write_modules(scores_NM)
        groups = []
        for target, scores_M in enumerate(scores_NM, start=self._targets):
            best = self._ranking.best(scores_M, self._keep)
            if len(best):
                groups.append((target, best.cpu().numpy(), scores_M[best].cpu().numpy()))
                self.kept += len(best)
        self._targets += len(scores_NM)
        self._finish_writing()
        self._writing = self._thread.submit(self._write_groups, groups)

    def _finish_writing(self) -> None:
        """Wait for what is being written: no more than one batch of targets waits in memory."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def _write_groups(self, groups: list[tuple[int, np.ndarray, np.ndarray]]) -> None:
        for target, flat, scores in groups:
            number, index = self._layout.split(flat)
            module = pa.DictionaryArray.from_arrays(number.astype(np.int32), self._layout.names)
            columns = [np.full(len(flat), target, dtype=np.int32), module, index.astype(np.int32), scores]
            self._neurons.write_table(pa.table(columns, schema=_NEURONS), row_group_size=len(flat))

    def _write_modules(self, scores_NM: Tensor) -> None:
        parts = scores_NM.split([module.neurons for module in self._ranking.modules], dim=1)
        sums = {
            "positive": [part.clamp(min=0).sum(1, dtype=torch.float64) for part in parts],
            "negative": [part.clamp(max=0).sum(1, dtype=torch.float64) for part in parts],
        }
        rows = {name: torch.stack(columns, dim=1).flatten().cpu().numpy() for name, columns in sums.items()}
        targets = np.arange(self._targets, self._targets + len(scores_NM), dtype=np.int32)
        table = {"target": targets.repeat(len(parts)), "module": self._layout.names * len(scores_NM), **rows}
        self._modules.write_table(pa.table(table, schema=_MODULES))
