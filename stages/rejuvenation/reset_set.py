"""Which neurons are reset (section 3.4.2): the union over targets, what it touches in a tensor, how much that is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from stages.contract import StageError
from stages.headers import Stored
from stages.rejuvenation import selection
from stages.rejuvenation.architecture import Module
from stages.rejuvenation.weights import Weights

RESET = "reset.parquet"

_RESET = pa.schema([("module", pa.string()), ("index", pa.int32())])


@dataclass(frozen=True)
class ResetSet:
    """The selected neurons: for each module name a mask over its neurons."""

    modules: list[Module]
    masks: dict[str, Tensor]

    @property
    def selected(self) -> int:
        return sum(int(mask.sum()) for mask in self.masks.values())

    def of_tensor(self, name: str) -> Region | None:
        """The part of the tensor `name` that is reset; None for a tensor that has no neurons.

        The bias of a reader belongs to its rows; the bias of a writer belongs to no column.
        """
        module_name, _, field = name.rpartition(".")
        if module_name not in self.masks:
            return None
        writes = module_name.endswith(tuple(module.kind for module in self.modules if module.writes))
        if writes and field == "bias":
            return None
        return Region(mask=self.masks[module_name], columns=writes)


@dataclass(frozen=True)
class Region:
    """Rows, or columns, of one tensor."""

    mask: Tensor
    columns: bool

    def count(self, tensor: Stored) -> int:
        """How many elements of `tensor` it covers."""
        return int(self.mask.sum()) * (tensor.elements // len(self.mask))

    def within(self, start: int, stop: int) -> tuple[slice | Tensor, ...]:
        """Its part of the rows `start` to `stop`, as an index of the block that they are."""
        if self.columns:
            return slice(None), self.mask.nonzero()[:, 0]
        return (self.mask[start:stop].nonzero()[:, 0],)


def empty(modules: list[Module]) -> ResetSet:
    """Nothing selected: rho 0, pure fusion."""
    return ResetSet(modules, {module.name: torch.zeros(module.neurons, dtype=torch.bool) for module in modules})


def union(attribution: Path, modules: list[Module], rho: float) -> tuple[ResetSet, list[int]]:
    """The union over all targets of what each selects at `rho` (equation 4), and the near-ties of each target.

    Raises:
        StageError: the attribution is of a model with other modules.
    """
    starts = dict(zip([m.name for m in modules], np.cumsum([0, *(m.neurons for m in modules)]).tolist(), strict=False))
    sizes = {module.name: module.neurons for module in modules}
    chosen, near_ties = np.zeros(sum(sizes.values()), dtype=bool), []
    for target in selection.read_selected(attribution, modules, rho):
        largest = np.full(len(target.names), -1)
        np.maximum.at(largest, target.number, target.index)
        for name, index in zip(target.names, largest.tolist(), strict=True):
            if index >= sizes.get(name, 0):
                raise StageError(f"{attribution}: its {name} does not exist in the checkpoint, or is larger there")
        chosen[np.array([starts.get(name, 0) for name in target.names])[target.number] + target.index] = True
        near_ties.append(target.near_ties)
    parts = torch.from_numpy(chosen).split(list(sizes.values()))
    return ResetSet(modules, dict(zip(sizes, parts, strict=True))), near_ties


def drawn_like(chosen: ResetSet, seed: int) -> ResetSet:
    """As many neurons of each module as `chosen` has there, drawn at random: a control for what choosing them does.

    The draw of a module depends on the seed and the module's name alone, so that a larger number contains a smaller.
    """
    masks = {}
    for module in chosen.modules:
        digest = hashlib.sha256(f"{seed} {module.name}".encode()).digest()
        draw = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
        masks[module.name] = torch.zeros(module.neurons, dtype=torch.bool)
        order = torch.randperm(module.neurons, generator=draw)
        masks[module.name][order[: int(chosen.masks[module.name].sum())]] = True
    return ResetSet(chosen.modules, masks)


def write(folder: Path, chosen: ResetSet) -> None:
    """`reset.parquet`: one row a neuron, in the order in which neurons are counted."""
    modules: list[str] = []
    indices: list[int] = []
    for module in chosen.modules:
        rows = chosen.masks[module.name].nonzero()[:, 0].tolist()
        modules += [module.name] * len(rows)
        indices += rows
    pq.write_table(pa.table({"module": modules, "index": indices}, schema=_RESET), folder / RESET)


def summarise(chosen: ResetSet, weights: Weights) -> dict[str, Any]:
    """|S| and the parameters it covers: of the whole model, per module, per kind of module and per layer.

    A module's parameters are its weight and bias, a layer's include its norms, the model's include the embeddings.
    """
    parameters = weights.parameters
    reset = {name: region.count(t) for name, t in parameters.items() if (region := chosen.of_tensor(name))}

    def share(modules: Iterable[Module], prefixes: tuple[str, ...]) -> dict[str, Any]:
        neurons, selected = 0, 0
        for module in modules:
            neurons += module.neurons
            selected += int(chosen.masks[module.name].sum())
        names = [name for name in parameters if name.startswith(prefixes)]
        covered = sum(reset.get(name, 0) for name in names)
        return {
            "neurons": neurons,
            "selected": selected,
            "reset_ratio": selected / neurons if neurons else 0.0,  # a family whose neurons are not known
            "parameter_ratio": covered / sum(parameters[name].elements for name in names),
        }

    kinds = dict.fromkeys(module.kind for module in chosen.modules)
    layers = dict.fromkeys(module.layer for module in chosen.modules)
    by_kind = {kind: [m for m in chosen.modules if m.kind == kind] for kind in kinds}
    by_layer = {layer: [m for m in chosen.modules if m.layer == layer] for layer in layers}
    return {
        **share(chosen.modules, ("",)),
        "modules": {m.name: share([m], (f"{m.name}.",)) for m in chosen.modules},
        "kinds": {kind: share(ms, tuple(f"{m.name}." for m in ms)) for kind, ms in by_kind.items()},
        "layers": {str(layer): share(ms, (f"model.layers.{layer}.",)) for layer, ms in by_layer.items()},
    }
