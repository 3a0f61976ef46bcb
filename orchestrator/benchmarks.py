"""Benchmarks before anything runs: what is wrong with the rows of one, as far as that is cheap to see; its prompts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.graph import Graph, Node
from orchestrator.refusal import ConfigError
from orchestrator.sources import CHECKED_BYTES, Source, Sources
from stages import problems, prompts, rows
from stages.contract import Input, StageError
from stages.store import Store


def check(source: Source, config: Any, key: str, sources: Sources) -> None:
    """Refuse a benchmark in a file of this machine that its stage would refuse; a pass is remembered.

    Only its gold answers in mathematics are left to the stage: to parse them takes long, and may hang.

    Raises:
        ConfigError: with everything that is wrong with it.
    """
    file = _file(source.path, source.reading.get("file"))
    if file is None or file.suffix == ".parquet" or file.stat().st_size > CHECKED_BYTES:
        return
    asked = [source.reading, config.kind, config.problems, config.shuffle_choices, config.template]
    try:
        sources.once(file, f"problems, texts {json.dumps(asked)}", lambda: _check(source, config))
    except StageError as error:
        raise ConfigError([f"{key}={source.name}: {error}"]) from None


def _check(source: Source, config: Any) -> None:
    found = problems.read(
        rows.load(_input(source, source.path)),
        kind=config.kind,
        expected=config.problems,
        shuffle=config.shuffle_choices,
    )
    prompts.render(config.template, found[0])


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


def _file(path: Path | None, name: str | None) -> Path | None:
    """The file of a source, if it is one."""
    file = path / name if path is not None and name else path
    return file if file is not None and file.is_file() else None
