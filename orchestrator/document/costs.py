"""What the study cost, stage by stage and node by node, from the records alone; what a record lacks is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator import names
from orchestrator.document.again import Again
from orchestrator.document.blocks import Block, Cell, Folded, Missing, Row, Table
from orchestrator.document.material import Material

Record = Mapping[str, Any]

_HEAD = ("nodes", "seconds", "GPU hours", "peak memory, GB", "peak GPU memory, GB")


def blocks(material: Material, again: Again) -> Iterable[Block]:
    """A row for each stage and one for all, and below it every node."""
    by_stage: dict[str, list[Record]] = {}
    each: list[Row] = []
    for entry in material.entries:
        record = material.artifacts.record(entry.node)
        if record is not None:
            by_stage.setdefault(entry.node.stage, []).append(record)
            cells = [_number(_seconds(record), 1), _number(_gpu_hours(record), 2), *_peaks([record])]
            each.append(Row([Cell(names.full(entry.node)), *cells]))
    if not each:
        return [Missing("Costs", "nothing is published yet", again.everything())]
    rows = [Row([Cell(stage), *_together(records)]) for stage, records in by_stage.items()]
    rows.append(Row([Cell("all"), *_together([record for records in by_stage.values() for record in records])]))
    return [
        Table(
            name="costs",
            title="Cost by stage",
            head=["stage", *_HEAD],
            rows=rows,
            caption="Sums over the published nodes; of a node that was interrupted, the last attempt alone. GPU hours "
            "are seconds times the GPUs of a machine; memory is the highest of one process, and of one GPU.",
        ),
        Folded(
            f"Every node ({len(each)})",
            [Table(name="costs_by_node", title="Cost by node", head=["node", *_HEAD[1:]], rows=each)],
        ),
    ]


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _together(records: list[Record]) -> list[Cell]:
    seconds, hours = ([of(record) for record in records] for of in (_seconds, _gpu_hours))
    return [
        Cell(str(len(records)), "", len(records)),
        _number(_total(seconds), 1),
        _number(_total(hours), 2),
        *_peaks(records),
    ]


def _total(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _seconds(record: Record) -> float | None:
    found = record.get("seconds")
    return float(found) if isinstance(found, int | float) else None


def _gpu_hours(record: Record) -> float | None:
    """Seconds times GPUs; records know those of one machine."""
    seconds, resources = _seconds(record), record.get("resources")
    gpus = resources.get("gpus") if isinstance(resources, dict) else None
    return seconds * gpus / 3600 if seconds is not None and isinstance(gpus, int | float) else None


def _peaks(records: list[Record]) -> list[Cell]:
    found = []
    for name in ("peak_memory", "peak_gpu_memory"):
        known = [value for record in records if isinstance(value := record.get(name), int | float)]
        found.append(_number(max(known) / 1e9 if known else None, 2))
    return found


def _number(value: float | None, digits: int) -> Cell:
    return Cell("unknown") if value is None else Cell(f"{value:,.{digits}f}", "", value)
