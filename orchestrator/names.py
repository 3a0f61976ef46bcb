"""Names: which nodes of a graph a person means, and which names no file and no job can have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator import named as texts
from orchestrator.graph import Graph, Node
from orchestrator.refusal import ConfigError, instead

#: The shortest beginning of a fingerprint that counts as one.
SHORTEST = 4


def full(node: Node) -> str:
    """`stage/label`."""
    return f"{node.stage}/{node.label}"


def named(name: str, nodes: Iterable[Node]) -> list[Node]:
    """The nodes that `name` means: stage/label, label, stage, or the beginning of a fingerprint."""
    return [node for node in nodes if _means(name, node)]


def several(verb: str, name: str, nodes: Iterable[Node]) -> list[Node]:
    """At least one node.

    Raises:
        ConfigError: there is none of this name.
    """
    nodes = list(nodes)
    found = named(name, nodes)
    if not found:
        raise ConfigError([f"{verb} {name}: no such node{_instead(name, nodes)}; plan lists them"])
    return found


def one(verb: str, name: str, nodes: Iterable[Node]) -> Node:
    """The one node of this name.

    Raises:
        ConfigError: there is none, or there are several.
    """
    found = several(verb, name, nodes)
    if len(found) > 1:
        listed = ", ".join(f"{full(node)} ({node.fingerprint[:10]})" for node in found)
        raise ConfigError([f"{verb} {name}: several nodes have this name, name one of them: {listed}"])
    return found[0]


def wrong(experiment: str, graph: Graph) -> Iterator[str]:
    """What is wrong with names that become those of files, folders and jobs, a sweep's values among them."""
    why, remedy = "its tables and runs are kept under this name", "name, or sweep fewer keys"
    yield from texts.too_long("name", experiment, why, remedy)
    parts = {part for variant, benchmark in graph.scores for part in (variant, benchmark)}
    said = dict.fromkeys([*graph.variants, *graph.diagnoses, *parts])
    bad = {name: found for name in said if (found := list(_wrong(name, graph)))}
    for found in bad.values():
        yield from found
    for node in graph.nodes.values():
        if not any(name in node.label for name in bad):
            yield from texts.faults("label", [node.label])
            why = f"the files of {node.stage} are kept under it"
            remedy = "names of its variant and benchmark, or sweep fewer keys"
            yield from texts.too_long("label", node.label, why, remedy)


def _wrong(name: str, graph: Graph) -> Iterator[str]:
    key = "variants" if name in graph.variants else "diagnoses" if name in graph.diagnoses else "benchmark"
    yield from texts.faults(key, [name])
    why, remedy = "artifacts and logs are kept under it", "name, or sweep fewer keys"
    yield from texts.too_long(key, name, why, remedy)


def _means(name: str, node: Node) -> bool:
    begins = len(name) >= SHORTEST and node.fingerprint.startswith(name)
    return name in (full(node), node.label, node.stage) or begins


def _instead(name: str, nodes: list[Node]) -> str:
    """`; did you mean ...?`, without the list of all nodes, which may be thousands."""
    return instead(name, [full(node) for node in nodes]).partition("; allowed:")[0]
