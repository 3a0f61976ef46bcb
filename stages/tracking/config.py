"""The config of a node's run: the node's own and that of all it was made from, and its identity.

So a GRPO run can be found, and grouped, by the alpha and rho of the rejuvenation that it started from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stages.store import Store

#: Of a record: what is known of a run when it is over.
FACTS = ("git", "packages", "python", "host", "gpus", "jobs", "resources", "continued_from")


def of_node(node: Mapping[str, Any], store: Store, experiment: str) -> dict[str, Any]:
    """The config of a node, given its node.json or its record: stage -> config, nearest first, and what it is."""
    identity = node["identity"]
    configs = {identity["stage"]: identity["config"]}
    for stage, config in _ancestors(node["inputs"], store, set()):
        configs.setdefault(stage, config)
    return {
        **configs,
        "experiment": experiment,
        "stage": identity["stage"],
        "label": node["label"],
        "version": identity["version"],
        "fingerprint": node["fingerprint"],
        "inputs": {kind: given["fingerprint"] for kind, given in node["inputs"].items()},
    }


def of_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the record adds when the node is published."""
    return {name: record[name] for name in FACTS if record.get(name) is not None}


def _ancestors(inputs: Mapping[str, Any], store: Store, seen: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Stage and config of what was made on the way, level by level, checkpoints first."""
    level = [inputs[kind] for kind in sorted(inputs, key=lambda kind: (kind != "checkpoint", kind))]
    for given in level:
        if given.get("artifact") and given["artifact"] not in seen:
            record = store.record(given["stage"], given["artifact"])
            seen.add(given["artifact"])
            if record is not None:
                yield record["identity"]["stage"], record["config"]
                yield from _ancestors(record["inputs"], store, seen)
