"""Cancelling: ending jobs that are in flight, one's own only.

A job ends for all nodes that it has, and what waits for one of them waits in vain; so those go too.

Where Slurm cannot be asked, nothing can be ended; but a claim that nobody has touched for longer than a lease has no
worker, and can be freed. If its job still waits somewhere, it finds that out when it starts, and ends. `--all` frees
one's own; those of others are freed by name alone.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from launch import claim as claims
from launch import node as node_file
from launch import order, queue
from launch.claim import LEASE, Claim
from launch.escape import inline
from launch.queue import Queue, Unanswered
from orchestrator import names, plan
from orchestrator.command import DONE, FAILED, Command, Study
from orchestrator.graph import Graph, Node
from orchestrator.names import full
from orchestrator.plan import Entry
from orchestrator.refusal import ConfigError
from stages import part
from stages.store import Store

#: Seconds to wait until what was cancelled is over: Slurm lets a job save for KillWait seconds, 30 by default.
PATIENCE, POLL = 60.0, 0.5
#: What the command line of a worker has in it.
WORKER = "launch.worker"


@dataclass(kw_only=True)
class Cut:
    """What a cancellation ends, and what it leaves.

    Attributes:
        jobs: id of a Slurm job -> the nodes that it ends for, by name.
        workers: process id of a worker on this machine -> the same.
        freed: node whose claim is given up, because nobody touches it and its job cannot be asked for -> whose it was.
        left: node in flight -> why it is not cancelled.
        ended: every node of the graph that ends with it.
    """

    jobs: dict[str, list[str]] = field(default_factory=dict)
    workers: dict[int, list[str]] = field(default_factory=dict)
    freed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    ended: set[Node] = field(default_factory=set)


def verb(study: Study, command: Command) -> int:
    """Cancel what is in flight of a node, or of all, with everything that depends on it."""
    if (command.node is None) == ("--all" not in command.flags):
        raise ConfigError(["cancel: name a node (stage/label, or the beginning of a fingerprint), or say --all"])
    nodes = study.graph.nodes.values()
    chosen = list(nodes) if command.node is None else names.several("cancel", command.node, nodes)
    entries = plan.make(study.graph, study.store)
    try:
        cut = look(entries, chosen, study.graph, study.store, named=command.node is not None)
        queue.cancel(cut.jobs)
        for pid in cut.workers:
            _terminate(pid)
        over = _wait(lambda: _is_over(cut), cut)
    except Unanswered as error:
        told = f"error: nothing is known of the jobs: {error}"
        if command.node is None:
            told += "; `cancel NODE` frees a node that nobody has touched for a while"
        print(inline(told), file=sys.stderr)
        return FAILED
    if command.as_json:
        shown = {"jobs": cut.jobs, "workers": cut.workers, "freed": cut.freed, "left": cut.left, "over": over}
        print(json.dumps(shown))
    else:
        _tell(cut, {full(node) for node in chosen}, over)
    return FAILED if cut.left and not cut.ended else DONE


def look(entries: list[Entry], chosen: Iterable[Node], graph: Graph, store: Store, *, named: bool = False) -> Cut:
    """What cancelling `chosen` ends. `named`: by their names, so that claims which nobody touches are freed of others.

    Raises:
        Unanswered: there are jobs of Slurm, and it does not say which.
    """
    cut = Cut()
    flying = {entry.node.fingerprint: entry for entry in entries if entry.in_flight}
    silent = {key for key, entry in flying.items() if _is_silent(entry, store, named)}
    ours = any(
        _is_mine(entry) and entry.claim and entry.claim.launcher == "slurm" and key not in silent
        for key, entry in flying.items()
    )
    seen = queue.read([getpass.getuser()]) if ours else Queue([])
    names_of = {store.job(node.stage, node.fingerprint): node for node in graph.nodes.values()}
    waiting, met = list(chosen), set()
    while waiting:
        node = waiting.pop()
        if node in met:
            continue
        met.add(node)
        waiting += [other for other in graph.nodes.values() if node in graph.waits_for(other)]
        entry = flying.get(node.fingerprint)
        if entry is None:
            continue
        if node.fingerprint in silent:
            _free(entry, cut, store, named)
            continue
        folders = _add(entry, cut, seen, store)
        waiting += [names_of[folder] for folder in folders if folder in names_of]
    return cut


def _is_silent(entry: Entry, store: Store, named: bool) -> bool:
    """Whether nobody is at a node, as far as this machine can know, and its job cannot be asked for.

    Slurm that does not answer now may do so in a minute: then a claim is freed by its name alone.
    """
    if entry.claim is None or entry.claim.launcher != "slurm":
        return False
    folder = store.job(entry.node.stage, entry.node.fingerprint)
    cold = claims.dated(folder, entry.claim) and claims.age(folder, entry.claim) >= LEASE
    return cold and (entry.standing.out_of_sight or (named and entry.standing.deaf))


def _free(entry: Entry, cut: Cut, store: Store, named: bool) -> None:
    """Give up the claim of a node that is silent."""
    assert entry.claim is not None
    whose = f"job {entry.claim.job or '(its number was never written down)'} of {entry.claim.holder}"
    if not (named or _is_mine(entry)):
        cut.left[full(entry.node)] = f"it is {entry.claim.user}'s: {entry.reason}"
        return
    folder = store.job(entry.node.stage, entry.node.fingerprint)
    try:
        claims.release(folder, entry.claim)
    except OSError as error:
        cut.left[full(entry.node)] = f"its claim cannot be given up: {error.strerror}"
        return
    cut.freed[full(entry.node)] = whose
    cut.ended.add(entry.node)


def _is_mine(entry: Entry) -> bool:
    return entry.claim is not None and entry.claim.user == getpass.getuser()


def _add(entry: Entry, cut: Cut, seen: Queue, store: Store) -> list[Path]:
    """Note what ends a node, or why nothing does; returns the folders of all nodes that end with it."""
    folder = store.job(entry.node.stage, entry.node.fingerprint)
    found: list[Path] = []
    why = ""
    if entry.claim is None:
        why = "a worker that has not yet said who it is has it; try again"
    elif not _is_mine(entry):
        why = f"it is {entry.claim.user}'s: {entry.reason}"
    elif entry.claim.launcher == "slurm":
        jobs = [job.id for job in seen.entries if not job.ended and _is_of(job, entry.claim)]
        found = _folders(entry.claim, store) if jobs else []
        cut.jobs |= {job: [_name(each) for each in found] for job in jobs}
        why = "" if jobs else "its head is submitting it, and Slurm does not have it yet; try again"
    elif entry.claim.host != socket.gethostname():
        why = f"its worker is on {entry.claim.host}; cancel it there"
    else:
        found = _of_worker(entry.claim.pid, folder)
        if found and entry.claim.pid is not None:
            cut.workers[entry.claim.pid] = [_name(each) for each in found]
        why = "" if found else f"it runs in another process, {entry.claim.pid}, which is no worker; end that one"
    if why:
        cut.left[full(entry.node)] = why
    else:
        cut.ended.add(entry.node)
    return found


def _is_of(job: queue.Entry, claim: Claim) -> bool:
    return (job.token, job.index) == (claim.token, claim.index) or job.id == claim.job


def _folders(claim: Claim, store: Store) -> list[Path]:
    """The nodes of a Slurm job that are not published."""
    try:
        task = order.read(order.find(store.root, claim.token)).tasks[claim.index or 0]
    except (OSError, ValueError, IndexError):  # spoilt; then the job ends for the node that was named
        return []
    return [folder for each in task.folders if (folder := Path(each)).is_dir()]


def _of_worker(pid: int | None, folder: Path) -> list[Path]:
    """The nodes of a worker of this machine, those published excepted; none if the process is not the node's worker."""
    words = _command(pid)
    if WORKER not in words or str(folder) not in words:
        return []
    return [
        each for word in words if (each := Path(word)).is_absolute() and (part.mine(each) / node_file.NODE).is_file()
    ]


def _command(pid: int | None) -> list[str]:
    """The command line of a process; empty if it is gone, or only waits for its parent to notice its end."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _name(folder: Path) -> str:
    """stage/label of a node's folder."""
    try:
        spec = node_file.read(part.last(folder))
    except (OSError, ValueError):
        return f"{folder.parent.name}/{folder.name}"
    return f"{spec.stage}/{spec.label}"


def _terminate(pid: int) -> None:
    """Ask a worker to end, with everything that it has started: it leads a process group, if a head started it."""
    with contextlib.suppress(ProcessLookupError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGTERM)
        else:
            os.kill(pid, signal.SIGTERM)


def _is_over(cut: Cut) -> bool:
    """Whether all that was cancelled has ended: until then a new job would wait for it, in vain."""
    if any(WORKER in _command(pid) for pid in cut.workers):
        return False
    if not cut.jobs:
        return True
    return all(job.ended for job in queue.read([getpass.getuser()]).entries if job.id in cut.jobs)


def _wait(ready: Callable[[], bool], cut: Cut) -> bool:
    deadline = time.monotonic() + PATIENCE
    told = False
    while not ready():
        if time.monotonic() > deadline:
            return False
        if not told:
            told = True
            whom = ", ".join([*(f"job {job}" for job in cut.jobs), *(f"worker {pid}" for pid in cut.workers)])
            print(inline(f"waiting for the end of {whom}"), file=sys.stderr, flush=True)
        time.sleep(POLL)
    return True


def _tell(cut: Cut, chosen: set[str], over: bool) -> None:
    for what, nodes in {**{f"job {job}": n for job, n in cut.jobs.items()}, **_workers(cut)}.items():
        more = "" if len(nodes) == 1 else f" (one job, which ends for all {len(nodes)} of them)"
        print(inline(f"cancelled {what}: {', '.join(nodes)}{more}"))
    for node, whose in cut.freed.items():
        print(inline(f"freed {node}: {whose}; if that still waits somewhere, it ends without running when it starts"))
    for node, why in cut.left.items():
        print(inline(f"left {node}: {why}"))
    if not cut.ended and not cut.left:
        print("nothing of it is in flight")
    if not over:
        print(
            inline(f"not over yet after {PATIENCE:.0f} s; wait with the next run until status shows nothing in flight")
        )


def _workers(cut: Cut) -> dict[str, list[str]]:
    return {f"worker {pid}": nodes for pid, nodes in cut.workers.items()}
