"""Benchmarks before anything runs: what is wrong with the rows of one, as far as that is cheap to see; its prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator import golds
from orchestrator.graph import Graph, Node
from orchestrator.refusal import ConfigError
from orchestrator.sources import Source, Sources
from stages import problems, prompts, rows
from stages.contract import Input, StageError
from stages.store import Store


def check(source: Source, config: Any, key: str, sources: Sources) -> Source:
    """The source of a benchmark, with what is to be said of it; one that its stage would refuse is refused.

    Looked at is what is on this machine and was read already (`Source.rows`), and what was found is remembered.

    Raises:
        ConfigError: with everything that is wrong with it.
    """
    if source.path is None or source.rows is None:
        return source
    asked = [config.kind, config.problems, config.shuffle_choices, config.template]
    return _looked(source, key, sources, json.dumps(asked), lambda: _check(source, config))


def check_problems(source: Source, key: str, sources: Sources) -> Source:
    """The same of the problems of reinforcement learning."""
    if source.path is None or source.rows is None or not {"prompt", "answer"} <= source.reading["fields"].keys():
        return source
    return _looked(source, key, sources, "of RL", lambda: _check_problems(source))


def notes(graph: Graph) -> list[str]:
    """What is to be said of the data of a study."""
    return list(dict.fromkeys(note for source in graph.sources.values() for note in source.notes))


def _looked(source: Source, key: str, sources: Sources, asked: str, look: Callable[[], list[str]]) -> Source:
    try:
        found = sources.remembered(f"problems of {source.fingerprint}: {asked}", look)
    except StageError as error:
        raise ConfigError([f"{key}={source.name}: {error}"]) from None
    return replace(source, notes=(*source.notes, *(f"{key}={source.name}: {note}" for note in found)))


def _check(source: Source, config: Any) -> list[str]:
    every = rows.load(_input(source, source.path))
    found = problems.read(every, kind=config.kind, expected=config.problems, shuffle=config.shuffle_choices)
    prompts.render(config.template, found[0])
    said = problems.doubts(found, every, kind=config.kind)
    if config.kind == "math":
        wrong, left = golds.unreadable([problem.gold for problem in found])
        if named := [f"{problem.id} ({problem.gold!r})" for problem in found if problem.gold in wrong]:
            raise StageError(f"gold answers that do not parse: {problems.listed(named)}")
        said += _unseen(left, len(found))
    return said


def _check_problems(source: Source) -> list[str]:
    every = rows.load(_input(source, source.path))
    wrong, left = golds.unreadable([row["answer"] for row in every])
    bad = [f"{number} ({row['answer']!r})" for number, row in enumerate(every, start=1) if row["answer"] in wrong]
    if len(bad) == len(every):
        raise StageError(f"gold answers that do not parse: all {len(every)}, the first of them {bad[0]}")
    said = [f"gold answers that do not parse, and so reward nothing: of the rows {problems.listed(bad)}"] if bad else []
    twice = problems.alike((row["prompt"], row["answer"]) for row in every)
    return [*said, *twice, *_unseen(left, len(every))]


def _unseen(left: int, of: int) -> list[str]:
    """What is said where not every gold was looked at."""
    return [f"of {of} gold answers the first {left} were looked at; the stage looks at the others"] if left < of else []


def shown(graph: Graph, store: Store) -> Iterator[tuple[str, str]]:
    """Benchmark -> the prompt of its first problem, or why it cannot be shown."""
    seen: set[str] = set()
    for (_, name), node in graph.scores.items():
        if name not in seen:
            seen.add(name)
            try:
                yield name, _first_prompt(node, store)
            except StageError as error:
                yield name, f"not shown: {error}"


def _first_prompt(node: Node, store: Store) -> str:
    """The prompt of a benchmark's first problem, with all of its worked examples."""
    config = node.config
    first = rows.load(_opened(node.inputs["benchmark"], store), limit=1)
    [problem] = problems.read(first, kind=config["kind"], expected=None, shuffle=config["shuffle_choices"])
    examples = rows.load(_opened(node.inputs["shots"], store)) if config["shots"] else []
    return prompts.render(config["template"], problem, prompts.shots_of(problem, examples, config["shots"]))


def _opened(source: Any, store: Store) -> Input:
    """A source as a stage would see it now."""
    assert isinstance(source, Source)
    if source.unresolved:
        raise StageError(source.unresolved)
    if source.origin is None:
        return _input(source, source.path)
    path = store.find(source.origin.stage, source.origin.fingerprint)
    if path is None:
        raise StageError(f"{source.origin.stage}/{source.origin.label} has not made {source.reading['file']} yet")
    rows.inside(path, source.reading["file"])
    return _input(source, path)


def _input(source: Source, path: Path | None) -> Input:
    return Input(
        fingerprint=source.fingerprint,
        path=path,
        hub=source.hub,
        revision=source.content.get("commit"),
        reading=source.reading,
    )
