"""The verb `inspect`: the prompts, generations and grades of an evaluation, what went wrong first.

What a model wrote is hostile text: nothing of it but visible characters, tabs and the ends of lines reaches a terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from rich.pager import SystemPager

from launch.escape import inline, visible
from orchestrator import answers, names, page, plan, readable
from orchestrator.answers import Answer, Problem
from orchestrator.command import DONE, FAILED, Command, Study
from orchestrator.graph import Graph, Node
from orchestrator.refusal import ConfigError

#: Flags: only the problems that have a wrong answer; a page for a browser instead of lines.
WRONG, HTML = "--wrong", "--html"

#: Before each line of what is not ours, so that it cannot pass for ours.
QUOTE = "  | "

_WORDS = {"wrong": "wrong", "error": "error", "unparsed": "wrong, no answer found", "right": "right"}


def verb(study: Study, command: Command) -> int:
    """Show what an evaluation published: in the terminal's pager, as plain or JSON lines, or as a page."""
    assert command.node is not None
    node = evaluation(command.node, study.graph)
    folder = study.store.find(node.stage, node.fingerprint)
    if folder is None:
        entry = next(each for each in plan.make(study.graph, study.store) if each.node is node)
        print(inline(f"{names.full(node)} is not published: {entry.state}, {entry.reason}"), file=sys.stderr)
        return FAILED
    try:
        _show(study, command, node, folder)
    except readable.Unreadable as error:
        print(inline(f"error: {error}"), file=sys.stderr)
        return FAILED
    return DONE


def _show(study: Study, command: Command, node: Node, folder: Path) -> None:
    """Show an evaluation as the flags say.

    Raises:
        Unreadable: a file of it cannot be read.
    """
    every = answers.read(folder)
    shown = [problem for problem in every if problem.wrong] if WRONG in command.flags else every
    if HTML in command.flags:
        file = page_file(study, node, only_wrong=WRONG in command.flags)
        page.write(file, page.Heading.of(node, folder, total=len(every)), shown)
        print(json.dumps({"page": str(file)}) if command.as_json else inline(str(file)))
    elif command.as_json:
        _print(json_lines(shown))
    else:
        heading = f"{names.full(node)}  {node.fingerprint[:10]}  {folder}"
        _page([f"{visible(heading)}\n", f"{sum_up(shown, len(every))}\n", *lines(shown)])


def evaluation(name: str, graph: Graph) -> Node:
    """The evaluation that a name means: as `orchestrator.names` has it, or by variant, benchmark or both.

    `ModSFT.tiny_sums` is found even if another variant has the same node, which is then labelled after that one.

    Raises:
        ConfigError: there is none, or there are several.
    """
    cells = {f"{variant}.{benchmark}": {variant, benchmark} for variant, benchmark in graph.scores}
    nodes = list(dict.fromkeys(graph.scores.values()))
    short = name.removeprefix("evaluate/")
    exact = [node for cell, node in zip(cells, graph.scores.values(), strict=True) if short == cell]
    loose = [node for words, node in zip(cells.values(), graph.scores.values(), strict=True) if name in words]
    found = list(dict.fromkeys(exact or [*names.named(name, nodes), *loose]))
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(f"{names.full(node)} ({node.fingerprint[:10]})" for node in found)
        raise ConfigError([f"inspect {name}: several evaluations have this name, name one of them: {listed}"])
    if other := names.named(name, graph.nodes.values()):
        raise ConfigError([f"inspect {name}: {names.full(other[0])} is no evaluation; name VARIANT.BENCHMARK"])
    return names.one("inspect", name, nodes)


def page_file(study: Study, node: Node, *, only_wrong: bool) -> Path:
    """Where the page of an evaluation is written."""
    name = study.store.final(node.stage, node.label, node.fingerprint).name
    return study.reports / f"{name}{'-wrong' if only_wrong else ''}.html"


def sum_up(shown: Sequence[Problem], total: int) -> str:
    """`3 of 5 problems, 12 samples: 4 right, 6 wrong, 1 without an answer, 1 error; 2 truncated`."""
    found = answers.counts(shown)
    of = "" if len(shown) == total else f"{len(shown)} of "
    return (
        f"{of}{total} problems, {found['samples']} samples: {found['right']} right, {found['wrong']} wrong, "
        f"{found['unparsed']} without an answer, {found['error']} errors; {found['truncated']} truncated"
    )


def lines(problems: Iterable[Problem]) -> Iterator[str]:
    """Every problem with its prompt and its samples, as text for a terminal."""
    for problem in problems:
        gold = "" if problem.gold is None else f", gold {inline(problem.gold)}"
        yield f"\nproblem {problem.number}: id {inline(problem.id)}{gold}, "
        yield f"{problem.right} of {len(problem.answers)} right\n prompt\n{quoted(problem.prompt)}"
        for answer in problem.answers:
            yield f" sample {answer.sample}: {_grade(answer)}\n{quoted(answer.completion)}"


def json_lines(problems: Iterable[Problem]) -> Iterator[str]:
    """Every problem as an object, in ASCII."""
    for problem in problems:
        samples = [{**asdict(answer), "verdict": answer.verdict} for answer in problem.answers]
        plain = {"problem": problem.number, "id": problem.id, "prompt": problem.prompt, "gold": problem.gold}
        yield json.dumps({**plain, "samples": samples}).replace("\x7f", "\\u007f") + "\n"


def quoted(text: str) -> str:
    """A text of several lines, each behind `QUOTE`."""
    return "".join(f"{QUOTE}{line}\n" for line in visible(text).split("\n"))


def _grade(answer: Answer) -> str:
    parts = [_WORDS[answer.verdict]]
    if answer.error is not None:
        parts.append(inline(answer.error))
    if answer.extracted is not None:
        parts.append(f"extracted {inline(answer.extracted)}")
    if answer.tokens is not None:
        parts.append(f"{answer.tokens} tokens")
    return ", ".join([*parts, "truncated"] if answer.truncated else parts)


def _page(text: Iterable[str]) -> None:
    """Show lines in the terminal's pager, if there is a terminal. They have no styles, which not all pagers pass."""
    if sys.stdout.isatty() and sys.stdin.isatty():
        SystemPager().show("".join(text))
    else:
        _print(text)


def _print(text: Iterable[str]) -> None:
    """Write lines until the reader has had enough of them."""
    try:
        sys.stdout.writelines(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains as it exits
