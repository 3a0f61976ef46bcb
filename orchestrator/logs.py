"""Logs: what a node printed, wherever that is.

A node's log is named after it. Nodes of one job share a log, named after the first of them; a job of Slurm that never
came so far as to open its log may have left something in the job's own folder.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from launch import claim as claims
from launch import standing
from launch.claim import Claim
from launch.escape import inline
from orchestrator import deaths, names, plan
from orchestrator.batch import batches
from orchestrator.command import DONE, FAILED, Command, Study
from orchestrator.graph import Graph, Node
from orchestrator.printed import Printed
from stages import jsonfile, listing
from stages.store import Store

#: Seconds between two looks at a log that is followed, and between two at whether its node is still in flight.
READ, LOOK = 0.3, 2.0
CHUNK = 2**16
#: Bytes of a log that are shown, the last ones: a log has no bound, and each of its bytes may be shown as eight.
SHOWN = 2**22


def verb(study: Study, command: Command) -> int:
    """Print the newest log of a node and what Slurm said of its job; with -f, until it is no longer in flight."""
    assert command.node is not None
    node = names.one("logs", command.node, study.graph.nodes.values())
    found = newest(node, study.graph, study.store)
    if command.as_json:
        print(json.dumps({"node": names.full(node), "fingerprint": node.fingerprint, "log": found and str(found)}))
        return DONE
    if "-f" in command.flags:
        found = follow(node, study.graph, study.store, sys.stdout.buffer, _say)
    elif found is not None:
        _show(found)
    claim = claims.read(study.store.job(node.stage, node.fingerprint))
    for words in _early(claim, study.store):  # how it killed the job, for one
        if words != found:
            _show(words)
    if found is None:
        entry = next(each for each in plan.make(study.graph, study.store) if each.node is node)
        _say(f"{names.full(node)} has no log: {entry.state}, {entry.reason}")
    return FAILED if found is None else DONE


def newest(node: Node, graph: Graph, store: Store) -> Path | None:
    """The log of the node's last attempt; else what Slurm wrote for its job; None if there is neither."""
    claim = claims.read(store.job(node.stage, node.fingerprint))
    ordered = deaths.ordered(claim, store)
    if ordered is not None and listing.is_file(ordered):
        return ordered
    own = _of(node, store)
    early = _early(claim, store)
    # A job that has opened no log is newer than the logs of earlier attempts, if it said anything at all.
    for group in (early, own, [log for other in _beside(node, graph) for log in _of(other, store)]):
        found = _latest(group)
        if found is not None:
            return found
    return None


def follow(
    node: Node, graph: Graph, store: Store, out: IO[bytes], say: Callable[[str], None] = lambda text: None
) -> Path | None:
    """Copy the newest log to `out` as it grows, until the node is no longer in flight; returns that log."""
    at: Path | None = None
    printed = Printed(out)
    stream: IO[bytes] | None = None
    looked = float("-inf")
    while True:
        last = False
        if time.monotonic() - looked >= LOOK:
            # First whether it goes on, then what is there: what it printed at its end is not missed.
            last = not _in_flight(node, store)
            found = newest(node, graph, store)
            looked = time.monotonic()
            if found is not None and found != at:
                if stream is not None:
                    _copy(stream, printed)
                    printed.finish()
                    stream.close()
                at, stream = found, jsonfile.opened(found)
                _announce(at, say)
                _skip(stream, say)
        if stream is not None:
            _copy(stream, printed)
        if last:
            printed.finish()
            if stream is not None:
                stream.close()
            return at
        time.sleep(READ)


def _in_flight(node: Node, store: Store) -> bool:
    store.refresh()
    if store.find(node.stage, node.fingerprint) is not None:
        return False
    folder = store.job(node.stage, node.fingerprint)
    claim = claims.read(folder)
    seen = standing.look([] if claim is None else [claim])
    locked = store.running(node.stage, node.fingerprint)
    return standing.of(folder, claim, seen, locked=locked).state != "free"


def _early(claim: Claim | None, store: Store) -> list[Path]:
    """What Slurm wrote for a job that may not have opened its log: `<id>_<rank>_log.out`."""
    if claim is None or claim.launcher != "slurm":
        return []
    return [file for file in deaths.written(claim, store) if file.stat().st_size > 0]


def _of(node: Node, store: Store) -> list[Path]:
    return listing.files(store.logs(node.stage), f"*-{node.fingerprint[:10]}-*.txt")


def _beside(node: Node, graph: Graph) -> list[Node]:
    """The nodes that run in one job with this one."""
    alike = [other for other in graph.nodes.values() if other.stage == node.stage]
    return [other for batch in batches(alike) if node in batch for other in batch if other is not node]


def _latest(logs: Iterable[Path]) -> Path | None:
    return max(logs, key=lambda log: log.stat().st_mtime, default=None)


def _show(log: Path) -> None:
    _announce(log, _say)
    printed = Printed(sys.stdout.buffer)
    with jsonfile.opened(log) as stream:
        _skip(stream, _say)
        _copy(stream, printed)
    printed.finish()


def _skip(stream: IO[bytes], say: Callable[[str], None]) -> None:
    """Go on to the last bytes of a log that has more than `SHOWN`."""
    left = stream.seek(0, os.SEEK_END) - SHOWN
    stream.seek(max(0, left))
    if left > 0:
        say(f"  its first {left} bytes are left out")


def _announce(log: Path, say: Callable[[str], None]) -> None:
    """Say whose words follow; other ranks have a log each."""
    say(f"{log}")
    for rank in sorted(log.parent.glob(f"{log.name}.rank*")):
        say(f"  {rank}")


def _copy(source: IO[bytes], printed: Printed, most: int = SHOWN) -> None:
    while most > 0 and (chunk := source.read(min(CHUNK, most))):
        printed.write(chunk)
        most -= len(chunk)


def _say(text: str) -> None:
    print(inline(text), file=sys.stderr, flush=True)
