"""Models, tokenizers and templates that are not of one another: seen in the files beside the weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields

from orchestrator.forecast.checkpoint import MODELS, Checkpoint, Checkpoints
from orchestrator.graph import Node
from orchestrator.sources import Source

#: What stands for something in a Jinja template, and what templates write that is to be one token.
_FILLED, _SPECIAL = re.compile(r"{{.*?}}|{%.*?%}|{#.*?#}", re.DOTALL), re.compile(r"<\|[^<>|\s]+\|>")


def errors(nodes: Iterable[Node], checkpoints: Checkpoints) -> list[str]:
    """What is wrong with the models of these nodes, and with what is written for them, each once."""
    found: dict[str, None] = {}
    for node in nodes:
        root = checkpoints.of(node)
        if root is None:
            continue
        found |= dict.fromkeys([*_unreadable(node, checkpoints), *_pairs(node, checkpoints)])
        found |= dict.fromkeys([*_tokens(root), *_templates(node, root)])
    return list(found)


def _unreadable(node: Node, checkpoints: Checkpoints) -> Iterator[str]:
    """Models that the hub does not give, or that are none."""
    for kind in MODELS:
        if isinstance(node.inputs.get(kind), Source):
            root = checkpoints.root(node.inputs[kind])
            if root.refused:
                yield root.refused


def _pairs(node: Node, checkpoints: Checkpoints) -> Iterator[str]:
    """A checkpoint and a base, or a reference, that are not two states of one model."""
    if "checkpoint" not in node.inputs:
        return
    mine = checkpoints.root(node.inputs["checkpoint"])
    for kind in MODELS[1:]:
        other = checkpoints.root(node.inputs[kind]) if kind in node.inputs else mine
        if mine.shape is None or other.shape is None:
            continue
        names = (field.name for field in fields(mine.shape) if field.name != "positions")  # longer ones may be learned
        both = {name: (getattr(mine.shape, name), getattr(other.shape, name)) for name in names}
        differs = ", ".join(f"{name} {one} and {two}" for name, (one, two) in both.items() if one != two)
        if differs:
            yield f"{mine.name} and {other.name}: not two states of one model ({differs}); name two that are"


def _tokens(root: Checkpoint) -> Iterator[str]:
    """Token ids that the embedding has no row for."""
    if root.shape is None:
        return
    rows = root.shape.vocabulary
    tokenizer = root.tokenizer
    if tokenizer is not None and tokenizer.learned is not None and tokenizer.learned >= rows:
        yield (
            f"{root.name}: its tokenizer has ids up to {tokenizer.learned:,}, its embedding {rows:,} rows: they are of "
            "two models; put the tokenizer beside the weights that these were trained with"
        )
    for token in sorted(tokenizer.ends) if tokenizer is not None else ():
        if tokenizer is not None and tokenizer.added[token] >= rows:
            yield (
                f"{root.name}: its tokenizer ends or pads with {token} (id {tokenizer.added[token]}), for which its "
                f"embedding of {rows:,} rows has none; name another one in tokenizer_config.json"
            )
    for field, id in root.ids.items():
        if id >= rows:
            yield (
                f"{root.name}: config.json says {field}={id}, but its vocabulary has {rows:,} tokens; "
                "correct it, or take the config of the model that the weights are of"
            )


def _templates(node: Node, root: Checkpoint) -> Iterator[str]:
    """Special tokens that a prompt or a completion has and the model has not: it would read them as plain text."""
    if root.tokenizer is None:
        return
    texts = [str(node.config["template"])] if node.stage == "evaluate" else []
    for given in node.inputs.values():
        if isinstance(given, Source):
            texts += given.reading.get("fields", {}).values()
    written = {token for text in texts for token in _SPECIAL.findall(_FILLED.sub("", text))}
    known = {token for token, id in root.tokenizer.added.items() if root.shape is None or id < root.shape.vocabulary}
    missing = sorted(written - known)
    if missing:
        yield (
            f"template: writes {', '.join(missing)}, which {root.name} has no token for: it would read them as plain "
            "text; choose another template, for example template=bare, or a base that has them"
        )
