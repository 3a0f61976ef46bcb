"""The command line: `python -m orchestrator [VERB] [--json] [-m] [KEY=VALUE ...]`.

Exit codes: 0 everything asked for is done, or accepted by Slurm; 1 a stage failed; 2 the config is wrong, or refused by
Slurm; 130 interrupted.
"""

from __future__ import annotations

if __name__ == "__main__":
    from orchestrator import start

    start.quietly()  # before the other imports

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from launch import cause, sharing
from launch.escape import inline, visible
from orchestrator import (
    benchmarks,
    browse,
    cancel,
    carry_out,
    compare,
    config,
    dashboard,
    doctor,
    experiment,
    fetch,
    gc,
    grade,
    logs,
    names,
    notes,
    page,
    place,
    plan,
    report,
    results,
    secret,
    side,
    status,
    sweep,
    view,
    why,
)
from orchestrator.command import DONE, FAILED, INTERRUPTED, MULTIRUN, WRONG, Command, Site, Study
from orchestrator.forecast import outlook, text, verdict
from orchestrator.refusal import ConfigError, instead
from stages import contract, spoilt


def main(arguments: list[str] | None = None) -> int:
    """Run one verb, then tell which entries of the store are spoilt; returns the exit code."""
    spoilt.take()
    try:
        return _main(sys.argv[1:] if arguments is None else arguments)
    finally:
        _tell_spoilt()


def _tell_spoilt() -> None:
    """One line for each entry of the store that was there and could not be read."""
    found = spoilt.take()
    for path, reason in found[:SPOILT]:
        print(inline(f"no valid record: {path}: {reason}"), file=sys.stderr)
    if len(found) > SPOILT:
        print(inline(f"no valid record: {len(found) - SPOILT} more entries"), file=sys.stderr)


def _main(arguments: list[str]) -> int:
    try:
        secret.check(arguments)
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
        _show_errors(error.messages, arguments)
        return WRONG
    except OSError as error:  # a disk that fills up, a file server that goes away, in the middle of a verb
        told = cause.of(error, Path(getattr(error, "filename", None) or "store"))
        if told is None:
            raise
        _show_errors([f"{told}; once that is mended the same command continues"], arguments)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return INTERRUPTED


def _show_errors(messages: list[str], arguments: list[str]) -> None:
    """One line an error for people; for scripts, which read standard output alone, an object with all of them."""
    for line in "\n".join(messages).split("\n"):
        print(inline(f"error: {line}"), file=sys.stderr)
    if "--json" in arguments:
        print(json.dumps({"errors": messages}))


#: Spoilt entries of a store that are named.
SPOILT = 100


def plan_verb(study: Study, command: Command) -> int:
    """Show every node with its state and the reason, and what it will take; or, with --show-prompt, the prompts."""
    if SHOW_PROMPT in command.flags:
        prompts = dict(benchmarks.shown(study.graph, study.store))
        if command.as_json:
            print(json.dumps({"prompts": prompts}))
        else:
            view.show_prompts(prompts, view.console())
        return DONE
    entries = plan.make(study.graph, study.store)
    found = verdict.on_plan(entries, study)
    noted = [*verdict.notes(found), *notes.of(entries, study)]
    if command.as_json:
        ahead = {"cost": outlook.as_json(found), "notes": noted}
        print(json.dumps({**plan.as_json(entries, study.graph), **ahead}))
        return DONE
    out = view.console()
    view.show_plan(entries, study.graph, out)
    if COST in command.flags:
        text.show(found, out)
    for line in [*text.summary(found), *(f"note: {note}" for note in noted)]:
        out.print(view.escape(line), soft_wrap=True)
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


@dataclass(frozen=True)
class Verb:
    """What a verb does.

    Attributes:
        act: does it, with the study, or with the site alone; returns the exit code.
        flags: that it has beside --json.
        node: whether it names a node first (None: it may).
        site: whether it is about the cluster and the store, whatever is studied.
        file: whether what it names is no node, but a file; `-` is standard input.
        pair: whether what it names are the two sides of a comparison.
    """

    act: Callable[[Any, Command], int]
    flags: frozenset[str] = frozenset()
    node: bool | None = False
    site: bool = False
    file: bool = False
    pair: bool = False


#: Flags of `plan`: show one prompt of each benchmark instead; show what every node takes, with the arithmetic.
SHOW_PROMPT, COST = "--show-prompt", "--cost"

VERBS = {
    "run": Verb(carry_out.verb, frozenset({"--wait"})),
    "plan": Verb(plan_verb, frozenset({SHOW_PROMPT, COST})),
    "fetch": Verb(fetch.verb),
    "why": Verb(why_verb, node=True),
    "status": Verb(status.verb, frozenset({"--watch"})),
    "grade": Verb(grade.verb, node=True, site=True, file=True),
    "inspect": Verb(browse.verb, frozenset({browse.WRONG, browse.HTML}), node=True),
    "compare": Verb(compare.verb, frozenset({compare.HTML}), pair=True),
    "logs": Verb(logs.verb, frozenset({"-f"}), node=True),
    "cancel": Verb(cancel.verb, frozenset({"--all"}), node=None),
    "retry": Verb(carry_out.retry_verb, frozenset({"--wait"}), node=None),
    "report": Verb(results.verb),
    "dashboard": Verb(dashboard.verb),
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
    flags = {argument for argument in rest if argument.startswith("-") and "=" not in argument and argument != "-"}
    every = known.union(MULTIRUN, *(other.flags for other in VERBS.values()))
    own = config.hydra_flags() if flags - every else []
    if any(flag.startswith(each) for flag in own for each in flags - every):  # they may be shortened
        return None
    if flags - known:
        has = ", ".join(sorted(known))
        raise ConfigError(
            f"{flag}: not a flag of {name}, which has {has}{_meant(flag, [*known, *own])}"
            for flag in sorted(flags - known)
        )
    others = [argument for argument in rest if argument not in flags]
    if verb.pair:
        return _pair(name, others, frozenset(flags))
    words = [argument for argument in others if "=" not in argument and not argument.startswith("~")]
    if verb.node is not False:  # the label of a member of a sweep has a = in it
        words = [other for other in others if other in words or other.partition("/")[0] in contract.names()]
    if verb.file:  # a file may have a = in its name
        words = [*others[:1], *(word for word in words if word not in others[:1])]
    node = words[0] if words and verb.node is not False else None
    if verb.file and node is None:
        raise ConfigError([f"{name}: name a file of JSON lines, or - for standard input"])
    if verb.node and node is None:
        what = "name a node (stage/label, or the beginning of a fingerprint), then the overrides"
        raise ConfigError([f"{name}: {what}"])
    unknown = words if node is None else words[1:]
    if unknown:
        raise ConfigError(_stray(word) for word in unknown)
    return Command(name, node, frozenset(flags), [other for other in others if other != node])


def _stray(word: str) -> str:
    """What is wrong with a word that is neither a flag, a node nor an override."""
    if word in VERBS:
        return f"{word}: a verb is the first word of a command line, and there is one"
    verbs = ", ".join(VERBS)
    return f"{word}: neither a verb ({verbs}) nor an override KEY=VALUE{_meant(word, [*VERBS, '--help'])}"


def _meant(word: str, known: Sequence[str]) -> str:
    """`; did you mean 'plan'?`, and which characters look like others."""
    return instead(word, known).partition("; allowed:")[0]


def _pair(name: str, others: list[str], flags: frozenset[str]) -> Command:
    """A command that names two sides."""
    names = [other for other in others if side.is_name(other)]
    if len(names) != 2:
        what = "name two variants, A and B, or two experiments; of another experiment: EXPERIMENT:VARIANT"
        raise ConfigError([f"{name}{''.join(f' {each}' for each in names)}: {what}"])
    overrides = side.overrides_of(names, [other for other in others if other not in names])
    return Command(name, names[0], flags, overrides, other=names[1])


def _study(members: list[sweep.Member]) -> Study:
    merged, graph = sweep.merge(members)
    if wrong := list(names.wrong(merged.name, graph)):
        raise ConfigError(wrong)
    store = place.store(merged.store, merged.reads)
    sharing.join(store.root)
    return Study(merged, graph, store)


def _site(composed: config.Composed) -> Site:
    if composed.errors:
        raise ConfigError(composed.errors)
    cluster, store = experiment.read_place(composed.config)
    return Site(cluster, place.store(store))


def _sweep(command: Command) -> int:
    """Do a verb for all members of a grid at once; run each batch that a search asks for, then show all of them."""
    members: list[sweep.Member] = []
    codes: list[int] = []

    def act(composed: list[config.Composed], search: bool) -> list[float | None]:
        asked = sweep.read(composed, start=members[-1].number + 1 if members else 0)
        if search:
            _check_search(command, asked)
        members.extend(asked)
        study = _study(members)
        batch = replace(command, flags=command.flags | {"--wait"}, shows=False) if search else command
        codes.append(VERBS[command.verb].act(study, batch))
        first = {member.number: member for member in reversed(asked)}  # of several seeds, which a search has not
        scored = [first[number] for number in sorted(first)]
        return [report.objective(member.experiment, member.graph, study.store) for member in scored]

    try:
        found = config.sweep(command.overrides, act)
    except config.Unscored as error:
        _show_errors([f"{error}; the same command continues the search"], [*command.flags])
        return FAILED
    if found is not None:
        study = _study(members)
        file = study.reports / config.RESULTS
        page.put(file, found)
        results.show(study, command.as_json, command.line)
        print(visible(f"{found}written to {file}"), file=sys.stderr if command.as_json else sys.stdout)
    return max(codes)


def _check_search(command: Command, asked: list[sweep.Member]) -> None:
    """Refuse a search that cannot have scores, before anything is run."""
    if command.verb != "run":
        raise ConfigError(
            [f"{command.verb}: a search chooses members by the scores of those before; it can only be run"]
        )
    seeds = next((member.experiment.seeds for member in asked if member.experiment.seeds), None)
    if seeds:
        raise ConfigError([f"seeds={seeds}: a search has one seed; set 'seeds=[]' and seed"])
    if any(member.experiment.objective is None for member in asked):
        example = "'objective={variant:Rejuvenation+RL,benchmark:tiny_validation}'"
        raise ConfigError([f"objective: has no value; a search needs one, for example {example}"])


if __name__ == "__main__":
    sys.exit(start.run(main))
