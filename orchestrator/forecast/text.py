"""The outlook as a person reads it: a few lines below a plan, or all of it with the arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from orchestrator.forecast.load import GB, Load, needed
from orchestrator.forecast.outlook import Forecast, Outlook, gpu_hours
from orchestrator.names import full
from orchestrator.view import escape


def summary(outlook: Outlook) -> list[str]:
    """Memory and hours of the GPUs, if there are any; the disk; and what is not known."""
    if not outlook.forecasts:
        return []
    lines = [_memory(outlook), _hours(outlook)] if any(each.place.held for each in outlook.forecasts) else []
    unknown = [f"not known, and not counted: {name}: {why}" for name, why in outlook.unknown.items()]
    return [*lines, _disk(outlook), *unknown]


def show(outlook: Outlook, out: Console) -> None:
    """Every node, then the arithmetic of every kind of GPU, then what it rests on."""
    out.print(_table(outlook))
    for stage, several in outlook.stages().items():
        for loads, alike in _alike(several):
            for load in loads:
                out.print(
                    f"{escape(f'{_who(alike)}, {load.where}')}: {load.bytes / GB:.1f} GB{_of(stage, load, outlook)}"
                )
                for part in load.parts:
                    out.print(f"    {escape(str(part))}{'' if part.exact else '  (a bound)'}")


def _memory(outlook: Outlook) -> str:
    """`GPU memory: sft 38.2, grpo 54.0 of 80 GB`."""
    parts = []
    for stage, several in outlook.stages().items():
        loads = [load for each in several for load in each.loads]
        if not any(each.place.held for each in several) or (not loads and not any(e.setting is None for e in several)):
            continue
        memory = outlook.cluster.needs(stage).gpu_memory
        of = "" if memory is None else f" of {memory:g}"
        parts.append(f"{stage} {needed(loads):.1f}{of}" if loads else f"{stage} unknown")
    unset = any(outlook.cluster.needs(s).gpu_memory is None for s, e in outlook.stages().items() if e[0].place.held)
    rest = "; gpu_memory is not set, so nothing is refused for lack of it" if unset else ""
    return f"GPU memory: {', '.join(parts) or 'none'} GB{rest}"


def _hours(outlook: Outlook) -> str:
    """`GPU hours: at most 1,234 (sft 294, grpo 330)`."""
    total, unknown = gpu_hours(outlook.forecasts)
    parts = []
    for stage, several in outlook.stages().items():
        hours, _ = gpu_hours(several)
        parts += [f"{stage} {_number(hours)}"] if hours else []
    most = "at most " if any(each.duration is not None and each.duration.most for each in outlook.forecasts) else ""
    if not parts:
        return "GPU hours: unknown; set gpu_tflops, or run the like once"
    missing = f"; unknown for {unknown} nodes" if unknown else ""
    return f"GPU hours: {most}{_number(total)} ({', '.join(parts)}){missing}"


def _disk(outlook: Outlook) -> str:
    """`disk: 16.0 GB when it is done, 144.0 GB on the way (sft/OverSFT); 50.0 GB free`."""
    projection = outlook.projection
    free = f"{'only ' if projection.least > projection.free else ''}{_bytes(projection.free)} free"
    if projection.unknown and not projection.most:
        return f"disk: unknown; {free}"
    at, beside = projection.at
    on_the_way = f", {_bytes(projection.least)} on the way ({full(at)})" if at is not None else ""
    if projection.most > projection.least and len(beside) > 1:
        on_the_way += f", {_bytes(projection.most)} with {len(beside)} nodes side by side"
    rest = f"; unknown for {projection.unknown} nodes" if projection.unknown else ""
    long = min(projection.published, projection.most) > projection.free >= projection.least
    fits = ", too little if answers are as long as they may be" if long else ""
    return f"disk: {_bytes(projection.published)} when it is done{on_the_way}; {free}{fits}{rest}"


def _table(outlook: Outlook) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("node", "GPUs", "GB a GPU", "time", "GPU hours", "GB kept", "GB while it runs", "time by"):
        table.add_column(column, no_wrap=True, justify="left" if column in ("node", "time by") else "right")
    for each in outlook.forecasts:
        duration, size = each.duration, each.size
        most = "" if duration is None or not duration.most else "<= "
        table.add_row(
            escape(full(each.node)),
            str(each.place.held or ""),
            f"{needed(list(each.loads)):.1f}" if each.loads else "",
            f"{most}{_time(duration.seconds)}" if duration else "",
            f"{most}{_number(duration.gpu_hours)}" if duration and each.place.held else "",
            f"{size.published / GB:,.2f}" if size else "",
            f"{size.running / GB:,.2f}" if size else "",
            escape(duration.by) if duration else "",
        )
    return table


def _alike(several: Iterable[Forecast]) -> Iterator[tuple[tuple[Load, ...], list[Forecast]]]:
    """Nodes with the same arithmetic."""
    found: dict[tuple[Load, ...], list[Forecast]] = {}
    for each in several:
        if each.loads:
            found.setdefault(each.loads, []).append(each)
    yield from found.items()


def _who(alike: list[Forecast]) -> str:
    return full(alike[0].node) + (f" and {len(alike) - 1} more" if len(alike) > 1 else "")


def _of(stage: str, load: Load, outlook: Outlook) -> str:
    """What there is for a load, and how much of it is left for more sequences."""
    memory = outlook.cluster.needs(stage).gpu_memory
    if memory is None:
        return f", for which it has {load.share:.0%} of a GPU" if load.share < 1 else ""
    there = memory * load.share
    more = int((there * GB - load.bytes) / load.room) + 1 if load.room and there * GB >= load.bytes else 0
    room = f", room for {more} {load.each}" if more else ""
    return f" of {there:.1f}{f' ({load.share:.0%} of {memory:g})' if load.share < 1 else ''}{room}"


def _bytes(size: float) -> str:
    return decimal(max(0, round(size)))


def _time(seconds: float) -> str:
    """`20 s`, `35 min` or `1.2 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
