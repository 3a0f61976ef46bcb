"""Models, tokenizers and templates that are not of one another: seen in the files beside the weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields

from orchestrator.forecast.checkpoint import MODELS, Checkpoint, Checkpoints
from orchestrator.graph import Node
from orchestrator.sources import Source
from stages import model_config
from stages.rejuvenation import architecture
from stages.tokenizer_files import TokenizerFiles

#: Stages that know the neurons of some families alone, and those that take two models for states of one.
_ATTRIBUTED, _FUSED = ("attribute", "diagnose"), ("attribute", "rejuvenate")

#: Stages in which every response ends with an eos.
_ENDING = ("sft", "attribute", "diagnose", "grpo")

#: Fields of a config that are the shape.
_SHAPES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "tie_word_embeddings", "attention_bias", "mlp_bias"),
)

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
        found |= dict.fromkeys([*_families(node, root), *_functions(node, checkpoints)])
        found |= dict.fromkeys([*_ends(node, root), *_tokens(node, root), *_templates(node, root)])
    return list(found)


def notes(nodes: Iterable[Node], checkpoints: Checkpoints) -> list[str]:
    """Where two states of one model differ in what harms nobody, and code that a model is read without, each once."""
    found: dict[str, None] = {}
    for node in nodes:
        roots = [checkpoints.root(node.inputs[kind]) for kind in MODELS if isinstance(node.inputs.get(kind), Source)]
        found |= {f"{root.given}: {root.ignored}": None for root in roots if root.ignored}
        if node.stage in _FUSED and {"base", "checkpoint"} <= node.inputs.keys():
            base, mine = (checkpoints.root(node.inputs[kind]) for kind in ("base", "checkpoint"))
            pairs = {"positions": (base.positions, mine.positions), "dtype": (base.dtype, mine.dtype)}
            said = [f"{n} {a} and {b}" for n, (a, b) in pairs.items() if a != b and None not in (a, b)]
            if said:
                found[f"{base.given} and {mine.given} have {', '.join(said)}: what is made has the latter's"] = None
    return list(found)


def _unreadable(node: Node, checkpoints: Checkpoints) -> Iterator[str]:
    """Models that the hub does not give, or that are none."""
    for kind in MODELS:
        if isinstance(node.inputs.get(kind), Source):
            root = checkpoints.root(node.inputs[kind])
            if root.refused:
                yield root.refused
            elif root.unfused and node.stage in (*_FUSED, *_ATTRIBUTED):
                yield f"{root.given}: {root.unfused} ({', '.join(dict.fromkeys((*_FUSED, *_ATTRIBUTED)))})"
            elif root.unnamed and node.stage in _ATTRIBUTED and root.family in architecture.FAMILIES:
                yield f"{root.given}: {root.unnamed} ({' and '.join(_ATTRIBUTED)} look for model.layers)"


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
            yield f"{mine.given} and {other.given}: not two states of one model ({differs}); name two that are"


def _families(node: Node, root: Checkpoint) -> Iterator[str]:
    """A model whose neurons attribution does not know; fusion alone needs none."""
    if node.stage not in _ATTRIBUTED or root.family is None or root.family in architecture.FAMILIES:
        return
    yield (
        f"{root.given}: model_type {root.family!r}, whose neurons {' and '.join(_ATTRIBUTED)} do not know; allowed: "
        f"{', '.join(architecture.FAMILIES)}; any family: SFT, RL, evaluation, and fusion alone (rejuvenate.rho=0), in "
        "chains without attribute (only=[...]) and without diagnoses (~diagnoses)"
    )


def _functions(node: Node, checkpoints: Checkpoints) -> Iterator[str]:
    """A base and a checkpoint whose equal weights compute different things: a result has the checkpoint's config."""
    if node.stage not in _FUSED or not {"base", "checkpoint"} <= node.inputs.keys():
        return
    base, mine = (checkpoints.root(node.inputs[kind]) for kind in ("base", "checkpoint"))
    if not base.function or not mine.function:
        return
    known = base.family in architecture.FAMILIES and mine.family in architecture.FAMILIES
    shapes = base.shape is not None and mine.shape is not None
    differs = [
        line
        for line in model_config.differences(base.function, mine.function, complete=known)
        if not (shapes and line.split()[1].rstrip(":") in _SHAPES)  # said as the shapes that they are
    ]
    if differs:
        yield (
            f"{base.given} and {mine.given}: their config.json say that equal weights compute different things "
            f"({'; '.join(differs)}); name two states of one model, or correct the one that is wrong"
        )


def _ends(node: Node, root: Checkpoint) -> Iterator[str]:
    """A tokenizer without an eos, where responses are trained on, attributed, or padded."""
    if not root.endless or root.tokenizer is None:
        return
    if node.stage in _ENDING:
        why = f"with which every response ends ({', '.join(_ENDING[:-1])} and {_ENDING[-1]} need it)"
    elif node.config.get("engine") == "transformers" and root.tokenizer.pad is None:
        why = f"nor a pad token, without which {node.stage} cannot generate with transformers"
    else:
        return
    yield f"{root.given}: its tokenizer has no eos, {why}; name one in tokenizer_config.json (eos_token)"


def _tokens(node: Node, root: Checkpoint) -> Iterator[str]:
    """Token ids that the embedding has no row for."""
    if root.shape is None:
        return
    rows = root.shape.vocabulary
    tokenizer = root.tokenizer
    if tokenizer is not None and tokenizer.learned is not None and tokenizer.learned >= rows:
        yield (
            f"{root.given}: its tokenizer has ids up to {tokenizer.learned:,}, its embedding {rows:,} rows: they are "
            "of two models; put the tokenizer beside the weights that these were trained with"
        )
    for token, id in sorted(tokenizer.ids.items()) if tokenizer is not None else ():
        if id >= rows and _reads(node, root.tokenizer, token):
            yield (
                f"{root.given}: its tokenizer ends or pads with {token} (id {id}), for which its "
                f"embedding of {rows:,} rows has none; name another one in tokenizer_config.json"
            )
    for field, id in root.ids.items():
        if id >= rows:
            yield (
                f"{root.given}: config.json says {field}={id}, but its vocabulary has {rows:,} tokens; "
                "correct it, or take the config of the model that the weights are of"
            )


def _reads(node: Node, tokenizer: TokenizerFiles | None, token: str) -> bool:
    """Whether a stage gives its model an end or pad token: one that was added counts as written by somebody."""
    if tokenizer is None or token in tokenizer.added or node.stage in _ENDING:
        return True
    return node.config.get("engine") == "transformers" and token == (tokenizer.pad or tokenizer.eos)


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
