"""Names: which nodes of a graph a person means."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.graph import Node
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


def _means(name: str, node: Node) -> bool:
    begins = len(name) >= SHORTEST and node.fingerprint.startswith(name)
    return name in (full(node), node.label, node.stage) or begins


def _instead(name: str, nodes: list[Node]) -> str:
    """`; did you mean ...?`, without the list of all nodes, which may be thousands."""
    return instead(name, [full(node) for node in nodes]).partition("; allowed:")[0]
