"""Data sets that the hub does not give to us: gated and not accepted, private, or not there.

A model is refused when its config is read. Of a data set at a commit nothing is read before a job needs it, and
evaluation comes last: so the hub is asked.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.graph import Node
from orchestrator.sources import Source
from stages import hub
from stages.hub import Repository


def errors(nodes: Iterable[Node]) -> list[str]:
    """What the hub says of each data set of these nodes that it refuses. One that was downloaded is not asked for."""
    wanted: dict[Repository, bool] = {}  # and whether a study can do without it
    for node in nodes:
        for kind, source in node.inputs.items():
            if isinstance(source, Source) and source.content.get("type") == "dataset" and source.content["commit"]:
                repository = Repository(id=str(source.hub), kind="dataset", revision=source.content["commit"])
                wanted[repository] = wanted.get(repository, True) and kind in ("benchmark", "shots")
    found = []
    for repository, spare in wanted.items():
        if hub.given(repository):
            continue
        try:
            hub.access(repository)
        except hub.Refused as error:
            found.append(f"{error}{'; or name the other benchmarks, benchmark=[...]' if spare else ''}")
        except hub.Unreachable:  # a plan without a network is one, too
            break
    return found
