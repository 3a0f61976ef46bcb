"""Where to look next: the commands that fit the state of a study, ready to be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator import names
from orchestrator.command import Command
from orchestrator.graph import Node
from orchestrator.plan import Entry


@dataclass(frozen=True, kw_only=True)
class Hint:
    """A command, and what it is for."""

    what: str
    command: str


def line(command: Command, verb: str, *given: str) -> str:
    """The command line of another verb for the same study: `python -m orchestrator logs sft/ModSFT -f +exp...`."""
    return f"{shlex.join(['python', '-m', 'orchestrator', verb, *given])} {words(command)}".rstrip()


def words(command: Command) -> str:
    """What says which study a command line is about."""
    return shlex.join(command.line)


def hints(entries: Sequence[Entry], command: Command) -> list[Hint]:
    """What a person would do now, the most urgent first."""
    nodes = [entry.node for entry in entries]

    def first(state: str) -> str | None:
        return next((name(entry.node, nodes) for entry in entries if entry.state == state), None)

    found = []
    failed, running = first("failed"), first("running")
    if failed is not None:
        found += [Hint(what="why it failed", command=line(command, "logs", failed))]
        found += [Hint(what="again, what failed", command=line(command, "retry"))]
    if running is not None:
        found += [Hint(what="what it prints", command=line(command, "logs", running, "-f"))]
    elif any(entry.state == "queued" for entry in entries):
        found += [Hint(what="as it goes on", command=line(command, "status", "--watch"))]
    elif any(entry.state == "run" for entry in entries) and failed is None:
        found += [Hint(what="to run the rest", command=line(command, "run"))]
    if any(entry.state == "done" and entry.node.stage == "evaluate" for entry in entries) or not any(
        entry.state != "done" for entry in entries
    ):
        found += [Hint(what="the results so far", command=line(command, "report"))]
    return found


def name(node: Node, among: Iterable[Node]) -> str:
    """What to call a node on a command line: its name, or its fingerprint where that is not its alone, or not plain."""
    full = names.full(node)
    alone = sum(names.full(other) == full for other in among) <= 1
    return full if alone and full.isprintable() else node.fingerprint[:10]


def quoted(name: str) -> str:
    """A name as Hydra's grammar takes it in a list."""
    plain = re.fullmatch(r"[A-Za-z0-9+._-]+", name) is not None
    return name if plain else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
