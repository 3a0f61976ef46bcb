"""What the paper published: its tables, as data (`paper.yaml`), and which rows of ours are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TITLE = "Rejuvenating Model Plasticity for Robust SFT-to-RL Handoff"
CITED = f"When RL Fails after SFT: {TITLE} (arXiv 2606.09932)"

_FILE = Path(__file__).with_name("paper.yaml")


@dataclass(frozen=True, kw_only=True)
class Line:
    """A published row. `names` are those of ours that mean the same; `after` are the values of its row after RL."""

    label: str
    names: Sequence[str]
    values: Sequence[float]
    after: Sequence[float] = ()
    gain: float | None = None


@dataclass(frozen=True, kw_only=True)
class Published:
    """A table of the paper; `ours` are rows that it has not, and that we put below its rows."""

    name: str
    title: str
    head: Sequence[str]
    lines: Sequence[Line]
    ours: Sequence[str]


@cache
def _data() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return found


def table(number: int) -> Published:
    """One of tables 1 to 7."""
    data = _data()
    found = data[f"table{number}"]
    return Published(
        name=f"table{number}",
        title=found["title"],
        head=found.get("head", data["table2"]["head"]),
        lines=[
            Line(
                label=str(row.get("label", (row.get("row") or [""])[0])),
                names=row.get("row", ()),
                values=row["values"],
                after=row.get("after", ()),
                gain=row.get("gain"),
            )
            for row in found["rows"]
        ],
        ours=found.get("ours", ()),
    )


def is_of(experiment: str) -> bool:
    """Whether an experiment is the paper's own, so that its values stand beside ours."""
    return experiment.partition("@")[0] in _data()["experiments"]


def column(name: str) -> str:
    """How the paper calls a column of ours; the name itself, if it has none such."""
    found: str = _data()["columns"].get(name, name)
    return found


def benchmarks(name: str) -> frozenset[str]:
    """What a column of ours is of in the paper's tables, as these call it: a benchmark, or those of an average.

    >>> sorted(benchmarks("OOD avg"))
    ['ARC', 'GPQA', 'MMLU']
    """
    called, head = column(name), list(table(2).head)
    middle = head.index("ID Avg.")
    groups = {"ID Avg.": head[:middle], "OOD Avg.": head[middle + 1 : -2]}
    groups["Avg."] = [each for members in groups.values() for each in members]
    return frozenset(groups.get(called, [called] if called in head else []))


def same(row: str) -> list[str]:
    """The names of ours that mean the same row of the paper, this one first.

    >>> same("ModSFT+RL")
    ['ModSFT+RL', 'SFT-2+RL']
    """
    found = [row]
    for line in (line for number in range(1, 8) for line in table(number).lines):
        after = [f"{name}+RL" for name in line.names] if line.after else []
        found += [name for names in (line.names, after) if row in names for name in names]
    return list(dict.fromkeys(found))


def main() -> frozenset[str]:
    """The rows that figures compare, without +RL."""
    return frozenset(_data()["main"])


def remarks() -> list[str]:
    """What the paper's tables say twice, differently."""
    data = _data()
    rounded = "; ".join(
        f"{where.replace('table', 'table ')}, {row}, {name}: {said} (mean of its cells: {mean})"
        for where, row, name, said, mean in data["off_by_rounding"]
    )
    twice = "; ".join(
        f"{row}, {name}: {one} in {where}, but {other} in {there}"
        for row, name, one, where, other, there in data["contradictory"]
    )
    return [
        f"Published averages that differ from the mean of their own rounded cells in the last digit: {rounded}.",
        f"One run with two values in the paper: {twice}.",
    ]
