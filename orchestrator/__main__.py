"""The command line: `python -m orchestrator [VERB] [--json] [-m] [KEY=VALUE ...]`.

Exit codes: 0 everything asked for is done; 1 a stage failed; 2 the config is wrong; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.markup import escape

from launch import sharing
from orchestrator import (
    cancel,
    config,
    doctor,
    experiment,
    follow,
    gc,
    logs,
    names,
    plan,
    report,
    retry,
    run,
    runs,
    submit,
    sweep,
    view,
    watch,
    why,
)
from orchestrator.command import DONE, FAILED, INTERRUPTED, MULTIRUN, WRONG, Command, Site, Study
from orchestrator.experiment import ConfigError
from orchestrator.graph import Node
from stages import contract
from stages.store import Store


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = _parse(arguments)
        if command is None:
            config.hydra_app([argument for argument in arguments if argument not in VERBS])
            return DONE
        if command.multirun:
            return _sweep(command)
        composed = config.compose(command.overrides)
        verb = VERBS[command.verb]
        return verb.act(_site(composed) if verb.site else _study(sweep.read([composed])), command)
    except ConfigError as error:
        for message in error.messages:
            print(f"error: {message}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return INTERRUPTED


def run_verb(study: Study, command: Command) -> int:
    """Do everything that is not done, here or on Slurm; show the results if this stays until they are there."""
    unresolved = [source.unresolved for source in study.graph.sources.values() if source.unresolved]
    if unresolved:
        raise ConfigError(map(str, unresolved))
    _check_writable(study.store)
    runs.record(study.experiment.name, command.overrides, study.graph, study.store)
    return _carry_out(study, command)


def _carry_out(study: Study, command: Command) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: stop the jobs, give the terminal back
    return (_submit if study.experiment.cluster.launcher == "slurm" else _run_here)(study, command)


def retry_verb(study: Study, command: Command) -> int:
    """Do again what failed or was lost, one node or all, with what depends on it; nothing that was never tried."""
    _check_writable(study.store)
    entries = plan.make(study.graph, study.store)
    again = retry.lost(entries, study.store)
    if command.node is not None:
        again = [node for node in names.several("retry", command.node, study.graph.nodes.values()) if node in again]
    graph, left = retry.restrict(study.graph, entries, again)
    for node in left:
        print(f"left out, because it needs what was never tried: {names.full(node)}", file=sys.stderr)
    if all(node in left for node in again):
        print("nothing of it failed or was lost", file=sys.stderr)
        return FAILED if left else DONE
    print(f"again: {', '.join(names.full(node) for node in again if node not in left)}", file=sys.stderr)
    runs.record(study.experiment.name, command.overrides, study.graph, study.store)
    return _carry_out(replace(study, graph=graph), command)


def _run_here(study: Study, command: Command) -> int:
    """Run everything on this machine."""
    with view.Watch(study.store, view.console(errors=command.as_json)) as watch:
        outcome = run.Run(study.graph, study.store, study.experiment.cluster, watch).carry_out()
    for node, messages, log in outcome.failed.values():
        for message in messages:
            print(f"error: {node.stage}/{node.label}: {message}", file=sys.stderr)
        if log.exists():  # not when it ran in this process, and printed here
            print(f"  log: {log}", file=sys.stderr)
    if outcome.blocked:
        names = ", ".join(f"{node.stage}/{node.label}" for node in outcome.blocked)
        print(f"not run, because what they need failed: {names}", file=sys.stderr)
    if command.shows:
        _show_results(study, command.as_json)
    return FAILED if outcome.failed or outcome.blocked else DONE


def _submit(study: Study, command: Command) -> int:
    """Submit everything to Slurm; with cluster.wait, or --wait, stay until it is done."""
    cluster = study.experiment.cluster

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    orphans = submit.cancel_orphans(study.store)
    if orphans:
        tell(f"cancelled jobs that nobody waits for any more: {', '.join(orphans)}")
    submitted = submit.Submitter(study.graph, study.store, cluster, tell).submit(plan.make(study.graph, study.store))
    done = submitted.nodes == 0 and not submitted.attached and not submitted.held_back
    if not done and not (cluster.wait or "--wait" in command.flags):
        view.show_submitted(submitted, view.console(), command.as_json)
        return DONE
    view.show_submitted(submitted, view.console(errors=True), as_json=False)
    entries = follow.follow(study.graph, study.store, cluster, tell)
    for entry in entries:
        if entry.state != "done":
            tell(f"{entry.state} {entry.node.stage}/{entry.node.label}: {entry.reason}")
    if command.shows:
        _show_results(study, command.as_json)
    return DONE if all(entry.state == "done" for entry in entries) else FAILED


def plan_verb(study: Study, command: Command) -> int:
    """Show every node with its state and the reason."""
    entries = plan.make(study.graph, study.store)
    if command.as_json:
        print(json.dumps(plan.as_json(entries, study.graph)))
    else:
        view.show_plan(entries, study.graph, view.console())
    return DONE


def status_verb(study: Study, command: Command) -> int:
    """Show the plan with the progress of what runs now; with --watch, until nothing is in flight."""
    if "--watch" in command.flags:
        with view.Follow(study.graph, study.store, view.console(errors=command.as_json)) as draw:
            entries = watch.watch(study.graph, study.store, draw)
        if command.as_json:
            print(json.dumps(plan.as_json(entries, study.graph)))
        return DONE if all(entry.state == "done" for entry in entries) else FAILED
    entries = plan.make(study.graph, study.store)
    progress = {
        entry.node.fingerprint: view.read_progress(study.store, entry.node.stage, entry.node.fingerprint)
        for entry in entries
        if entry.state == "running"
    }
    if command.as_json:
        shown = plan.as_json(entries, study.graph)
        for node in shown["nodes"]:
            node["progress"] = progress.get(node["fingerprint"])
        print(json.dumps(shown))
    else:
        out = view.console()
        view.show_plan(entries, study.graph, out)
        for entry in entries:
            if found := progress.get(entry.node.fingerprint):
                name = escape(f"{entry.node.stage}/{entry.node.label}")
                out.print(f"{name}: {found['step']} of {found['total']} {found['metrics'] or ''}")
    return DONE


def why_verb(study: Study, command: Command) -> int:
    """Show the state of one node, its identity, and what differs from its nearest published sibling."""
    assert command.node is not None
    answers = why.explain(command.node, study.graph, study.store)
    if not answers:
        raise ConfigError([f"why {command.node}: no such node; plan lists them"])
    if command.as_json:
        print(json.dumps({"nodes": [asdict(answer) for answer in answers]}))
    else:
        view.show_why(answers, view.console())
    return DONE


def report_verb(study: Study, command: Command) -> int:
    """Show the results of what is published now."""
    _show_results(study, command.as_json)
    return DONE


@dataclass(frozen=True)
class Verb:
    """What a verb does.

    Attributes:
        act: does it, with the study, or with the site alone; returns the exit code.
        flags: that it has beside --json.
        node: whether it names a node first (None: it may).
        site: whether it is about the cluster and the store, whatever is studied.
    """

    act: Callable[[Any, Command], int]
    flags: frozenset[str] = frozenset()
    node: bool | None = False
    site: bool = False


VERBS = {
    "run": Verb(run_verb, frozenset({"--wait"})),
    "plan": Verb(plan_verb),
    "why": Verb(why_verb, node=True),
    "status": Verb(status_verb, frozenset({"--watch"})),
    "logs": Verb(logs.verb, frozenset({"-f"}), node=True),
    "cancel": Verb(cancel.verb, frozenset({"--all"}), node=None),
    "retry": Verb(retry_verb, frozenset({"--wait"}), node=None),
    "report": Verb(report_verb),
    "doctor": Verb(doctor.verb, frozenset({"--probe"}), site=True),
    "gc": Verb(gc.verb, frozenset({"--delete"}), site=True),
}


def _parse(arguments: list[str]) -> Command | None:
    """The command in `arguments`; None if Hydra is to have them, because of a flag that is its own.

    Raises:
        ConfigError: a word is neither verb, node, flag nor override.
    """
    named = bool(arguments) and arguments[0] in VERBS
    name, rest = (arguments[0], arguments[1:]) if named else ("run", arguments)
    verb = VERBS[name]
    known = {"--json", *verb.flags, *(() if verb.site else MULTIRUN)}
    flags = {argument for argument in rest if argument.startswith("-") and "=" not in argument}
    every = known.union(MULTIRUN, *(other.flags for other in VERBS.values()))
    if flags - every:
        return None
    if flags - known:
        has = ", ".join(sorted(known))
        raise ConfigError(f"{flag}: not a flag of {name}, which has {has}" for flag in sorted(flags - known))
    others = [argument for argument in rest if argument not in flags]
    words = [argument for argument in others if "=" not in argument and not argument.startswith("~")]
    if verb.node is not False:  # the label of a member of a sweep has a = in it
        words = [other for other in others if other in words or other.partition("/")[0] in contract.names()]
    node = words[0] if words and verb.node is not False else None
    if verb.node and node is None:
        what = "name a node (stage/label, or the beginning of a fingerprint), then the overrides"
        raise ConfigError([f"{name}: {what}"])
    unknown = words if node is None else words[1:]
    if unknown:
        verbs = ", ".join(VERBS)
        raise ConfigError(f"{word}: neither a verb ({verbs}) nor an override KEY=VALUE" for word in unknown)
    return Command(name, node, frozenset(flags), [other for other in others if other != node])


def _study(members: list[sweep.Member]) -> Study:
    merged, graph = sweep.merge(members)
    sharing.join(Path(merged.store).expanduser().absolute())
    return Study(merged, graph, Store(Path(merged.store).expanduser().absolute()))


def _site(composed: config.Composed) -> Site:
    if composed.errors:
        raise ConfigError(composed.errors)
    cluster, store = experiment.read_place(composed.config)
    return Site(cluster, Store(Path(store).expanduser().absolute()))


def _sweep(command: Command) -> int:
    """Do a verb for all members of a grid at once; run each batch that a search asks for, then show all of them."""
    members: list[sweep.Member] = []
    codes: list[int] = []

    def act(composed: list[config.Composed], search: bool) -> list[float | None]:
        asked = sweep.read(composed)
        if search:
            _check_search(command, asked)
        members.extend(asked)
        study = _study(members)
        batch = replace(command, flags=command.flags | {"--wait"}, shows=False) if search else command
        codes.append(VERBS[command.verb].act(study, batch))
        return [report.objective(member.experiment, member.graph, study.store) for member in asked]

    try:
        found = config.sweep(command.overrides, act)
    except config.Unscored as error:
        print(f"error: {error}; the same command continues the search", file=sys.stderr)
        return FAILED
    if found is not None:
        study = _study(members)
        results = study.store.reports(study.experiment.name) / config.RESULTS
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(found, encoding="utf-8")
        _show_results(study, command.as_json)
        print(f"{found}written to {results}", file=sys.stderr if command.as_json else sys.stdout)
    return max(codes)


def _check_search(command: Command, asked: list[sweep.Member]) -> None:
    """Refuse a search that cannot have scores, before anything is run."""
    if command.verb != "run":
        raise ConfigError(
            [f"{command.verb}: a search chooses members by the scores of those before; it can only be run"]
        )
    if any(member.experiment.objective is None for member in asked):
        example = "'objective={variant:Rejuvenation+RL,benchmark:tiny_validation}'"
        raise ConfigError([f"objective: has no value; a search needs one, for example {example}"])


def _check_writable(store: Store) -> None:
    """Refuse a store that cannot be written before anything is spent."""
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        sharing.join(store.root)
        with tempfile.NamedTemporaryFile(dir=store.root, prefix=".writable-") as probe:
            probe.write(bytes(2**20))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise ConfigError([f"store={store.root}: cannot be written: {error.strerror}"]) from None


def _show_results(study: Study, as_json: bool) -> None:
    """The result table if the experiment has benchmarks, else where the variants' artifacts are."""
    places = {name: _place(study, name) for name in study.experiment.variants}
    result = report.table(study.experiment, study.graph, study.store)
    written = report.write(result, study.store.reports(study.experiment.name)) if study.experiment.benchmarks else []
    if as_json:
        rows = {
            name: {
                column: None if score is None else {"mean": score.mean, "se": score.error}
                for column, score in zip(result.columns, scores, strict=True)
            }
            for name, scores in result.rows.items()
        }
        print(json.dumps({"variants": places, "table": rows, "files": [str(file) for file in written]}))
        return
    out = view.console()
    if study.experiment.benchmarks:
        view.show_table(result, out)
        out.print(f"pass@1 in percent ± standard error; written to {escape(' and '.join(map(str, written)))}")
    else:
        for name, place in places.items():
            print(f"{name}: {place or 'not there yet'}")


def _place(study: Study, variant: str) -> str | None:
    """The folder of the model at the end of a variant's chain, if it is published."""
    last = study.graph.variants[variant].get("checkpoint")
    if not isinstance(last, Node):
        return None if last is None else str(last.path or last.hub)
    folder = study.store.find(last.stage, last.fingerprint)
    return None if folder is None else str(folder / "model")


if __name__ == "__main__":
    sys.exit(main())
