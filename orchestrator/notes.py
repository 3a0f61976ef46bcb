"""Notes: what stops nobody, and whoever plans or runs a study should know."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator import benchmarks, clusters, moved, other_code, permission
from orchestrator.command import Study
from orchestrator.forecast import scarce
from orchestrator.plan import Entry


def of(entries: Sequence[Entry], study: Study) -> list[str]:
    """The notes on a plan, each once."""
    found = [
        *permission.notes(entries, study.store),
        *study.experiment.notes,
        *clusters.notes(study.cluster),
        *benchmarks.notes(study.graph),
        *scarce.held_out((entry.node for entry in entries if entry.open), study.store),
        *moved.notes(entries, study.graph, study.store),
        *other_code.notes(entries, study.store),
    ]
    return list(dict.fromkeys(found))
