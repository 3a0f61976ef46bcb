"""A checkpoint before it is loaded, or made: what the small files beside its weights say of it.

They are in a folder, in the artifact of `pretrain`, or on the hub. What a study makes of a checkpoint has its shape and
its tokenizer, so those of a node are those at the root of its chain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.forecast import shape
from orchestrator.forecast.shape import Shape
from orchestrator.graph import Node
from orchestrator.sources import Source
from stages import content, hub
from stages.contract import StageError
from stages.hub import Repository
from stages.store import Store, stamp

#: The kinds of input that are a model, that of which a node has the shape first.
MODELS = ("checkpoint", "reference", "base")

#: Fields of a config.json that are token ids.
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """What is known of a tokenizer.

    Attributes:
        learned: the largest id of its vocabulary, None if that is not known.
        added: tokens that were added to it -> id. One such as `<|im_start|>` is one token wherever it stands; anything
            else may be split.
        ends: those of the added tokens that end or pad a sequence.
    """

    learned: int | None
    added: Mapping[str, int]
    ends: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What is known of one.

    Attributes:
        name: a folder or a hub id, as the config has it, or the node that makes it.
        dtype: of its weights.
        ids: the special tokens of its config: field -> token id.
        unknown: why its shape is not known.
        refused: why it cannot be read at all.
    """

    name: str
    shape: Shape | None = None
    dtype: str | None = None
    tokenizer: Tokenizer | None = None
    ids: Mapping[str, int] = field(default_factory=dict)
    unknown: str = ""
    refused: str = ""


class Checkpoints:
    """The checkpoints of a study, each looked at once. Large tokenizers are remembered in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._memory = content.memory(store.root)
        self._found: dict[str, Checkpoint] = {}

    def of(self, node: Node) -> Checkpoint | None:
        """That whose shape a node works with; None for a node that has nothing to do with a model."""
        has = node.stage == "pretrain" or any(kind in node.inputs for kind in MODELS)
        return self.root(node) if has else None

    def root(self, given: Node | Source) -> Checkpoint:
        """That at the root of the chain that ends with `given`."""
        passed = []
        while given.fingerprint not in self._found:
            passed.append(given.fingerprint)
            if isinstance(given, Source):
                self._found[given.fingerprint] = self._outside(given)
            elif given.stage == "pretrain":
                self._found[given.fingerprint] = self._made(given)
            elif kind := next((kind for kind in MODELS if kind in given.inputs), None):
                given = given.inputs[kind]
            else:
                unknown = f"the stage {given.stage} does not say its shape"
                self._found[given.fingerprint] = Checkpoint(name=f"{given.stage}/{given.label}", unknown=unknown)
        found = self._found[given.fingerprint]
        self._found |= dict.fromkeys(passed, found)
        return found

    def remember(self) -> None:
        """Keep what took long to read, for the next time."""
        self._memory.keep()

    def _made(self, node: Node) -> Checkpoint:
        """What `pretrain` has made, or will make."""
        name = f"{node.stage}/{node.label}"
        folder = self._store.find(node.stage, node.fingerprint)
        if folder is not None:
            return self._read(name, folder / "model")
        return Checkpoint(name=name, shape=shape.of_pretraining(node.config), dtype="float32")

    def _outside(self, source: Source) -> Checkpoint:
        """A folder, or a repository of the hub at its commit."""
        if source.path is not None:
            return self._read(source.name, source.path)
        commit = source.content.get("commit")
        if source.hub is None or commit is None:
            return Checkpoint(name=source.name, unknown="its commit is not known")
        try:
            folder = hub.described(Repository(id=source.hub, kind="model", revision=commit))
        except hub.Refused as error:
            return Checkpoint(name=source.name, unknown="it cannot be read", refused=str(error))
        except hub.Unreachable as error:
            return Checkpoint(name=source.name, unknown=f"its config.json is not in the local cache, and {error.why}")
        except StageError as error:
            return Checkpoint(name=source.name, unknown=str(error))
        if not (folder / "config.json").is_file():
            refused = f"model {source.hub}: no checkpoint in it; expected config.json and *.safetensors"
            return Checkpoint(name=source.name, unknown="it has no config.json", refused=refused)
        return self._read(source.name, folder)

    def _read(self, name: str, folder: Path) -> Checkpoint:
        config = _object(folder / "config.json")
        found = shape.of_config(config)
        said = config.get("model_type")
        unknown = "" if found else f"its config.json (model_type {said}) is of no family that is known here"
        dtype = config.get("dtype") or config.get("torch_dtype")
        return Checkpoint(
            name=name,
            shape=found,
            dtype=dtype if dtype in shape.BYTES else None,
            tokenizer=self._tokenizer(folder),
            ids={each: max(ids) for each in _IDS if (ids := _token_ids(config.get(each)))},
            unknown=unknown,
        )

    def _tokenizer(self, folder: Path) -> Tokenizer | None:
        """What tokenizer.json and tokenizer_config.json say; None if there is neither."""
        files = [file for name in hub.DESCRIBING[1:] if (file := folder / name).is_file()]
        if not files:
            return None
        known = ":".join([*(f"{file}:{stamp(file.stat())}" for file in files), "tokenizer"])
        found = self._memory.get(known)
        if found is None:
            found = _read_tokenizer(folder)
            self._memory.put(known, found)
        return Tokenizer(learned=found["learned"], added=found["added"], ends=frozenset(found["ends"]))


def _read_tokenizer(folder: Path) -> dict[str, Any]:
    """The largest id of the vocabulary, if it is there; the added tokens; and which of them end or pad."""
    whole, settings = _object(folder / "tokenizer.json"), _object(folder / "tokenizer_config.json")
    listed, numbered = whole.get("added_tokens"), settings.get("added_tokens_decoder")
    tokens = list(listed) if isinstance(listed, list) else []
    for id, each in numbered.items() if isinstance(numbered, dict) else ():
        tokens += [{**each, "id": int(id)}] if isinstance(each, dict) and id.isdigit() else []
    known = [each for each in tokens if isinstance(each, dict) and isinstance(each.get("id"), int)]
    added = {each["content"]: each["id"] for each in known if isinstance(each.get("content"), str)}
    model = whole.get("model")
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    ids: list[int] = []
    if isinstance(vocabulary, dict):
        ids = [id for id in vocabulary.values() if isinstance(id, int)]
    elif isinstance(vocabulary, list):  # of a unigram model: an id is a place
        ids = [len(vocabulary) - 1]
    named = [settings.get("eos_token"), settings.get("pad_token")]
    texts = [each.get("content") if isinstance(each, dict) else each for each in named]
    return {"learned": max(ids, default=None), "added": added, "ends": [text for text in texts if text in added]}


def _token_ids(value: Any) -> list[int]:
    """One token id, or several, as a config.json has them."""
    several = value if isinstance(value, list) else [value]
    return [each for each in several if isinstance(each, int) and not isinstance(each, bool)]


def _object(file: Path) -> dict[str, Any]:
    """The JSON object in a file; empty if there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
