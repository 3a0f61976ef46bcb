"""Names: which nodes of a graph a person means, and which names a file system cannot hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.graph import Graph, Node
from orchestrator.refusal import ConfigError, instead
from orchestrator.values import shown

#: The shortest beginning of a fingerprint that counts as one.
SHORTEST = 4

#: Bytes of a file's name, and of those what is ours: a fingerprint, the number of an attempt, `.json`, a process's id.
NAME_MAX, OURS = 255, 32

#: Bytes of the name of an experiment, and of a node's label.
LONGEST = NAME_MAX - OURS


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


def too_long(experiment: str, graph: Graph) -> Iterator[str]:
    """What is wrong with names that become those of files and folders: the file system cannot hold them."""
    yield from _too_long(
        "name", experiment, "its tables and runs are kept under this name", "name, or sweep fewer keys"
    )
    parts = {part for variant, benchmark in graph.scores for part in (variant, benchmark)}
    named = dict.fromkeys([*graph.variants, *graph.diagnoses, *parts])
    long = [name for name in named if any(_too_long("", name, "", ""))]
    for name in long:
        kind = "variants" if name in graph.variants else "diagnoses" if name in graph.diagnoses else "benchmark"
        yield from _too_long(kind, name, "artifacts and logs are kept under it", "name, or sweep fewer keys")
    for node in graph.nodes.values():
        if not any(name in node.label for name in long):
            why = f"the files of {node.stage} are kept under it"
            yield from _too_long("label", node.label, why, "names of its variant and benchmark, or sweep fewer keys")


def _too_long(key: str, name: str, why: str, remedy: str) -> Iterator[str]:
    size = len(name.encode("utf-8", "surrogatepass"))
    if size > LONGEST:
        yield f"{key}={shown(name)}: {size} bytes of UTF-8, and {why}; allowed: at most {LONGEST}; shorten the {remedy}"


def _means(name: str, node: Node) -> bool:
    begins = len(name) >= SHORTEST and node.fingerprint.startswith(name)
    return name in (full(node), node.label, node.stage) or begins


def _instead(name: str, nodes: list[Node]) -> str:
    """`; did you mean ...?`, without the list of all nodes, which may be thousands."""
    return instead(name, [full(node) for node in nodes]).partition("; allowed:")[0]
