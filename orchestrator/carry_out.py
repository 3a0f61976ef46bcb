"""Carrying out a study, here or on Slurm: the verbs `run` and `retry`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace

from launch import lock as locks
from launch import sharing
from launch.claim import LEASE
from launch.escape import inline
from orchestrator import (
    follow,
    live,
    logs,
    names,
    notes,
    notify,
    permission,
    plan,
    results,
    retry,
    run,
    runs,
    submit,
    summary_run,
    view,
)
from orchestrator.command import DONE, FAILED, Command, Study
from orchestrator.forecast import verdict
from orchestrator.refusal import ConfigError
from stages import contract
from stages.own import NotOwn
from stages.store import Store


def verb(study: Study, command: Command) -> int:
    """Do everything that is not done, here or on Slurm; show the results if this stays until they are there."""
    unresolved = [source.unresolved for source in study.graph.sources.values() if source.unresolved]
    if unresolved:
        raise ConfigError(map(str, unresolved))
    if permission.unwritable(study.store.root) is not None:
        return _show_done(study, command)
    with _writable(study.store):
        entries = plan.make(study.graph, study.store)
        _check_ahead(entries, study)
    _record(study, command)
    return _carry_out(study, entries, command)


def _show_done(study: Study, command: Command) -> int:
    """Show the results in a store that cannot be written, if everything is there.

    Raises:
        ConfigError: something is not, and cannot be made there.
    """
    left = permission.left(plan.make(study.graph, study.store), study.store)
    if left is not None:
        raise ConfigError([left])
    results.show(study, command.as_json, command.line)
    return DONE


def retry_verb(study: Study, command: Command) -> int:
    """Do again what failed or was lost, one node or all, with what depends on it; nothing that was never tried."""
    with _writable(study.store):
        entries = plan.make(study.graph, study.store)
        again = retry.lost(entries, study.store)
        if command.node is not None:
            again = [node for node in names.several("retry", command.node, study.graph.nodes.values()) if node in again]
    graph, left = retry.restrict(study.graph, entries, again)
    for node in left:
        _say(f"left out, because it needs what was never tried: {names.full(node)}")
    if all(node in left for node in again):
        _say("nothing of it failed or was lost")
        if command.as_json:
            print(json.dumps({"again": [], "left_out": [names.full(node) for node in left]}))
        return FAILED if left else DONE
    entries = [entry for entry in entries if entry.node.fingerprint in graph.nodes]
    _check_ahead(entries, replace(study, graph=graph))
    _say(f"again: {', '.join(names.full(node) for node in again if node not in left)}")
    _record(study, command)
    return _carry_out(replace(study, graph=graph), entries, command)


def _record(study: Study, command: Command) -> None:
    """Write down what is wanted, before any of it is started."""
    try:
        runs.record(study.experiment.name, command.overrides, study.graph, study.store)
    except NotOwn as error:
        raise ConfigError([str(error)]) from None


def _check_ahead(entries: list[plan.Entry], study: Study) -> None:
    """Refuse what cannot work before anything is spent; tell what will be made again."""
    notify.check()
    found = verdict.on_start(entries, study)
    for note in [*verdict.notes(found), *notes.of(entries, study)]:
        _say(f"note: {note}")


def _carry_out(study: Study, entries: list[plan.Entry], command: Command) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: stop the jobs, give the terminal back
    if study.experiment.cluster.launcher == "slurm":
        return _submit(study, entries, command)
    return _run_here(study, entries, command)


def _run_here(study: Study, entries: list[plan.Entry], command: Command) -> int:
    """Run everything on this machine."""
    head = notify.Head(study, entries, command)
    with live.Watch(study, command, view.console(errors=command.as_json)) as watch:

        def look(running: run.Run) -> None:
            head.failed(notify.of_run(running))
            watch(running)

        running = run.Run(study.graph, study.store, study.cluster, look, study.experiment.tracked)
        try:
            outcome = running.carry_out()
        except BaseException as error:
            why = "interrupted" if isinstance(error, KeyboardInterrupt) else type(error).__name__
            head.ended(notify.of_run(running), why)
            raise
    head.ended(notify.of_run(running))
    for node, messages, log in outcome.failed.values():
        for message in messages:
            _say(f"error: {names.full(node)}: {message}")
        if log.exists():  # not when it ran in this process, and printed here
            _say(f"  log: {log}")
    for node, reason in outcome.left.values():
        _say(f"error: {names.full(node)}: not run: {reason}")
    if outcome.blocked:
        blocked = ", ".join(map(names.full, outcome.blocked))
        _say(f"not run, because what they need {'failed' if outcome.failed else 'is not there'}: {blocked}")
    if command.shows:
        summary_run.after_run(study, results.show(study, command.as_json, command.line))
    return FAILED if outcome.failed or outcome.left or outcome.blocked else DONE


def _submit(study: Study, entries: list[plan.Entry], command: Command) -> int:
    """Submit everything to Slurm; with cluster.wait, or --wait, stay until it is done."""
    cluster = study.experiment.cluster
    tracked = study.experiment.tracked
    head = notify.Head(study, entries, command)
    submitted = submit.Submitter(study.graph, study.store, cluster, _say, tracked).submit(entries)
    done = submitted.nodes == 0 and not submitted.attached and not submitted.held_back
    if not done and not (cluster.wait or "--wait" in command.flags):
        view.show_submitted(submitted, view.console(), command.as_json)
        return DONE
    out = view.console(errors=True)
    view.show_submitted(submitted, out, as_json=False)
    if out.is_terminal:
        with live.Follow(study, command, out) as draw:
            look = head.watching(draw.show)
            entries = follow.follow(study.graph, study.store, cluster, draw.tell, tracking=tracked, look=look)
    else:
        entries = follow.follow(study.graph, study.store, cluster, _say, tracking=tracked, look=head.watching())
    head.ended(notify.of_entries(entries, study.store))
    for entry in entries:
        if entry.state != "done":
            _say(f"{entry.state} {names.full(entry.node)}: {entry.reason}")
        found = logs.newest(entry.node, study.graph, study.store) if entry.state == "failed" else None
        if found is not None:
            _say(f"  log: {found}")
    if command.shows:
        summary_run.after_run(study, results.show(study, command.as_json, command.line))
    return DONE if all(entry.state == "done" for entry in entries) else FAILED


def _say(text: str) -> None:
    """One line for whoever waits; what a stage says in it is only ever text."""
    print(inline(text), file=sys.stderr, flush=True)


@contextlib.contextmanager
def _writable(store: Store) -> Iterator[None]:
    """Refuse a store that cannot be written before anything is spent. What is refused in the block leaves no folder."""
    missing = [folder for folder in (store.root, *store.root.parents) if not folder.exists()]
    _check_writable(store)
    try:
        yield
    except ConfigError:
        for folder in missing:
            with contextlib.suppress(OSError):  # somebody else has begun there
                folder.rmdir()
        raise


def _check_writable(store: Store) -> None:
    """Refuse a store that cannot be written."""
    if (refused := permission.unwritable(store.root)) is not None:
        raise ConfigError([refused])
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        sharing.join(store.root)
        sharing.found(store.root, contract.names())
        with tempfile.NamedTemporaryFile(dir=store.root, prefix=".writable-") as probe:
            probe.write(bytes(2**20))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise ConfigError([f"store={store.root}: cannot be written: {error.strerror}"]) from None
    except NotOwn as error:
        raise ConfigError([str(error)]) from None
    lockless = locks.missing(store.root)
    if lockless is not None:
        what = f"its file system has no file locks ({lockless}); claims alone keep workers apart"
        _say(
            f"note: store={store.root}: {what}, and one of another host counts for {LEASE:.0f} s after its worker ends"
        )
