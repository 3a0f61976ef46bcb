"""Watching: a study as it goes on, look by look, until nothing of it is in flight. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator import plan
from orchestrator.graph import Graph
from orchestrator.names import full
from orchestrator.plan import Entry
from stages.store import Store

#: Seconds between two looks: one call of squeue each. Together with `launch.claim.LEASE` less than 15 s, in which a
#: job that vanished has to be seen.
POLL = 2.0


def watch(graph: Graph, store: Store, draw: Callable[[list[Entry]], None]) -> list[Entry]:
    """Draw the plan at every look; returns the last one, in which nothing is in flight."""
    while True:
        store.refresh()
        entries = plan.make(graph, store)
        draw(entries)
        if not any(entry.awaited for entry in entries):
            return entries
        time.sleep(POLL)


@dataclass
class Changes:
    """Tells what changed since the last look, one line a node: `12:31:05 sft/ModSFT running -> failed: ...`.

    Whoever waits is also told when nothing is known any more of whom it waits for.
    """

    tell: Callable[[str], None]
    _before: dict[str, str] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)

    def __call__(self, entries: list[Entry]) -> None:
        now = datetime.now().strftime("%H:%M:%S")
        for entry in entries:
            before = self._before.get(entry.node.fingerprint, entry.state)
            if before != entry.state:
                why = "" if entry.state == "done" else f": {entry.reason}"
                self.tell(f"{now} {full(entry.node)} {before} -> {entry.state}{why}")
            elif entry.standing.doubtful and self._told.get(entry.node.fingerprint) != entry.standing.whom:
                self._told[entry.node.fingerprint] = entry.standing.whom
                self.tell(f"{now} {full(entry.node)}: {entry.reason}; waiting for it")
            self._before[entry.node.fingerprint] = entry.state
