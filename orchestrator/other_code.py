"""Artifacts that other code made: published by a stage whose code has changed since, while its VERSION has not."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from launch import stage_code
from orchestrator.names import full
from orchestrator.plan import OTHER_CODE, Entry
from stages.store import Store

#: Modules that a note names.
_NAMED = 4


def notes(entries: Iterable[Entry], store: Store) -> list[str]:
    """For each stage which of its artifacts are of other code, and in which modules that differs."""
    others = sorted((entry for entry in entries if entry.reason.startswith(OTHER_CODE)), key=attrgetter("node.stage"))
    return [_note(stage, list(group), store) for stage, group in groupby(others, key=attrgetter("node.stage"))]


def _note(stage: str, entries: list[Entry], store: Store) -> str:
    code = stage_code.of(stage, store.root)
    changed: dict[str, None] = {}
    for entry in entries:
        record = store.record(stage, entry.node.fingerprint) or {}
        changed |= dict.fromkeys(code.changed_since(record.get("code", {}).get("modules", {})))
    names = [f"stages.{name}" for name in changed]
    shown = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    more = f" (and {len(entries) - 1} more)" if len(entries) > 1 else ""
    return (
        f"{full(entries[0].node)}{more}: made by other code of the stage {stage} than there is now (changed: {shown}). "
        f"They count as published as long as VERSION in stages/{stage}.py stays the same; it goes up when a change may "
        "change a number"
    )
