"""The command line: `python -m orchestrator [VERB] [--json] [KEY=VALUE ...]`.

Exit codes: 0 everything asked for is done; 1 a stage failed; 2 the config is wrong; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.markup import escape

from orchestrator import chains, config, experiment, plan, report, run, view, why
from orchestrator.experiment import ConfigError, Experiment
from orchestrator.graph import Graph, Node
from orchestrator.sources import Sources
from stages.store import Store

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class Study:
    """An experiment, its graph and its store."""

    experiment: Experiment
    graph: Graph
    store: Store


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    verb, rest = (arguments[0], arguments[1:]) if arguments and arguments[0] in VERBS else ("run", arguments)
    try:
        if any(argument.startswith("-") and argument != "--json" for argument in rest):
            return _hydra(rest)
        return VERBS[verb]([argument for argument in rest if argument != "--json"], "--json" in rest)
    except ConfigError as error:
        for message in error.messages:
            print(f"error: {message}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return INTERRUPTED


def run_verb(arguments: list[str], as_json: bool) -> int:
    """Do everything that is not done, then show the results."""
    study = _study(arguments)
    unresolved = [source.unresolved for source in study.graph.sources.values() if source.unresolved]
    if unresolved:
        raise ConfigError(map(str, unresolved))
    _check_writable(study.store)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: stop the jobs, give the terminal back
    with view.Watch(study.store, view.console(errors=as_json)) as watch:
        outcome = run.Run(study.graph, study.store, study.experiment.cluster, watch).carry_out()
    for node, messages, log in outcome.failed.values():
        for message in messages:
            print(f"error: {node.stage}/{node.label}: {message}", file=sys.stderr)
        if log.exists():  # not when it ran in this process, and printed here
            print(f"  log: {log}", file=sys.stderr)
    if outcome.blocked:
        names = ", ".join(f"{node.stage}/{node.label}" for node in outcome.blocked)
        print(f"not run, because what they need failed: {names}", file=sys.stderr)
    _show_results(study, as_json)
    return FAILED if outcome.failed or outcome.blocked else DONE


def plan_verb(arguments: list[str], as_json: bool) -> int:
    """Show every node with its state and the reason."""
    study = _study(arguments)
    entries = plan.make(study.graph, study.store)
    if as_json:
        print(json.dumps(plan.as_json(entries, study.graph)))
    else:
        view.show_plan(entries, study.graph, view.console())
    return DONE


def status_verb(arguments: list[str], as_json: bool) -> int:
    """Show the plan with the progress of what runs now."""
    study = _study(arguments)
    entries = plan.make(study.graph, study.store)
    progress = {
        entry.node.fingerprint: view.read_progress(study.store, entry.node.stage, entry.node.fingerprint)
        for entry in entries
        if entry.state == "running"
    }
    if as_json:
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


def why_verb(arguments: list[str], as_json: bool) -> int:
    """Show the state of one node, its identity, and what differs from its nearest published sibling."""
    if not arguments or "=" in arguments[0]:
        raise ConfigError(["why: name a node (stage/label, or the beginning of a fingerprint), then the overrides"])
    study = _study(arguments[1:])
    answers = why.explain(arguments[0], study.graph, study.store)
    if not answers:
        raise ConfigError([f"why {arguments[0]}: no such node; plan lists them"])
    if as_json:
        print(json.dumps({"nodes": [asdict(answer) for answer in answers]}))
    else:
        view.show_why(answers, view.console())
    return DONE


def report_verb(arguments: list[str], as_json: bool) -> int:
    """Show the results of what is published now."""
    _show_results(_study(arguments), as_json)
    return DONE


VERBS: dict[str, Callable[[list[str], bool], int]] = {
    "run": run_verb,
    "plan": plan_verb,
    "why": why_verb,
    "status": status_verb,
    "report": report_verb,
}


def _study(arguments: list[str]) -> Study:
    words = [argument for argument in arguments if "=" not in argument and not argument.startswith("~")]
    if words:
        raise ConfigError(f"{word}: neither a verb ({', '.join(VERBS)}) nor an override KEY=VALUE" for word in words)
    composed = config.compose(arguments)
    try:
        read = experiment.read(composed.config, composed.overrides)
        store = Store(Path(read.store).expanduser().absolute())
        study = Study(read, chains.expand(read, Sources(store.root)), store)
    except ConfigError as error:
        raise ConfigError([*composed.errors, *error.messages]) from None
    if composed.errors:
        raise ConfigError(composed.errors)
    return study


def _check_writable(store: Store) -> None:
    """Refuse a store that cannot be written before anything is spent."""
    try:
        store.root.mkdir(parents=True, exist_ok=True)
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


def _hydra(arguments: list[str]) -> int:
    """Flags that are Hydra's own. Sweeps are not among them yet."""
    if any(argument in ("-m", "--multirun") for argument in arguments):
        raise ConfigError(["-m: sweeps are not there yet; give one value and run once for each"])
    config.hydra_app(arguments)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
