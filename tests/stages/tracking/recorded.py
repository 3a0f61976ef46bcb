"""What the real client wrote: the runs in a store's W&B folder, read back from its transaction logs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.tracking import transactions
from stages.tracking.names import FOLDER

#: What the head says of W&B in these tests.
OFFLINE: dict[str, Any] = {
    "mode": "offline",
    "project": "rejuvenation",
    "entity": None,
    "weights": False,
    "generations": 3,
    "group": "toy",
}


@dataclass(frozen=True)
class Attempt:
    """One transaction log: a run, or a part of it."""

    file: Path
    id: str
    name: str
    group: str
    job_type: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    made: dict[str, Any]
    used: dict[str, Any]
    exit_code: int | None


def attempts(store: Path) -> list[Attempt]:
    """Every log of a store, the oldest first."""
    files = (store / FOLDER).glob("*run-*/run-*.wandb")
    return [read(file) for file in sorted(files, key=lambda file: file.parent.name.partition("run-")[2])]


def by_name(store: Path) -> dict[str, Attempt]:
    """The logs of a store in which every run has one."""
    found = attempts(store)
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def read(file: Path) -> Attempt:
    run: Any = None
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    artifacts: list[Any] = []
    code = None
    for record in transactions.records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= _updated(record.run.config.update)
        elif kind == "config":
            config |= _updated(record.config.update)
        elif kind == "summary":
            summary |= _updated(record.summary.update)
        elif kind == "artifact":
            artifacts.append(record.artifact)
        elif kind == "exit":
            code = record.exit.exit_code
    return Attempt(
        file=file,
        id=run.run_id,
        name=run.display_name,
        group=run.run_group,
        job_type=run.job_type,
        config=config,
        history=transactions.history(file),
        summary=summary,
        made={each.name: each for each in artifacts if not each.use_after_commit},
        used={each.name: each for each in artifacts if each.use_after_commit},
        exit_code=code,
    )


def curve(attempt: Attempt, name: str) -> list[tuple[int, Any]]:
    """(step, value) of a metric, in the order in which it was written."""
    return [(row["_step"], row[name]) for row in attempt.history if name in row]


def _updated(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
