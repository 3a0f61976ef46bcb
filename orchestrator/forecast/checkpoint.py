"""A checkpoint before it is loaded, or made: what the small files beside its weights say of it.

They are in a folder, in the artifact of `pretrain`, or on the hub. What a study makes of a checkpoint has its shape and
its tokenizer, so those of a node are those at the root of its chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.forecast import shape, tensors
from orchestrator.forecast.shape import Shape
from orchestrator.graph import Node
from orchestrator.sources import Source
from stages import content, hub, model_config, remote_code, tokenizer_files, weight_files
from stages.contract import StageError
from stages.hub import Repository
from stages.jsonfile import object_in
from stages.store import Store, stamp
from stages.tokenizer_files import TokenizerFiles

#: The kinds of input that are a model, that of which a node has the shape first.
MODELS = ("checkpoint", "reference", "base")

#: Files that decide whether a folder is refused, by suffix; and a name that changes when the rules do.
_LOOKED_AT = (".safetensors", ".json", ".bin", ".model", ".txt", ".jinja", ".tiktoken")
_RULES = "checkpoint files 2"

#: The dtypes of tensors that can be fused: in float32 their values are exact.
_FUSED = ("F32", "BF16", "F16")

#: Fields of a config.json that are token ids.
_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What is known of one.

    Attributes:
        name: a folder or a hub id, as the config has it, or the node that makes it.
        key: what names it in the config, if anything does.
        dtype: of its weights.
        ids: the special tokens of its config: field -> token id.
        family: its model_type.
        function: what its config says of what its weights compute (`stages.model_config`).
        endless: whether it is known that its tokenizer has no eos.
        head_width: of an attention head, where its config says it, whatever the family.
        unknown: why its shape is not known.
        refused: why it cannot be read at all, or what is wrong with its files.
        unfused: why its tensors cannot be fused, or compared one by one.
        unnamed: why its neurons are not found by the names of its tensors.
        ignored: the code that it asks for, and is read without.
    """

    name: str
    key: str = ""
    shape: Shape | None = None
    dtype: str | None = None
    tokenizer: TokenizerFiles | None = None
    ids: Mapping[str, int] = field(default_factory=dict)
    family: str | None = None
    function: Mapping[str, Any] = field(default_factory=dict)
    endless: bool = False
    head_width: int | None = None
    unknown: str = ""
    refused: str = ""
    unfused: str = ""
    unnamed: str = ""
    ignored: str = ""

    @property
    def positions(self) -> int | None:
        return None if self.shape is None else self.shape.positions

    @property
    def given(self) -> str:
        """`base=FOLDER`, or its name where no key gives it."""
        return f"{self.key}={self.name}" if self.key else self.name


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
        made = shape.of_pretraining(node.config)
        return Checkpoint(name=name, shape=made, dtype="float32", family="llama", head_width=made.head_width)

    def _outside(self, source: Source) -> Checkpoint:
        """A folder, or a repository of the hub at its commit."""
        if source.path is not None:
            return self._looked_into(source, source.path)
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
        if _has_weights(folder):
            return self._looked_into(source, folder)
        found = replace(self._read(source.name, folder), key=source.key)
        try:
            remote_code.refuse(folder)
        except StageError as error:
            return replace(found, refused=_of(source, folder, error))
        return found

    def _looked_into(self, source: Source, folder: Path) -> Checkpoint:
        """What all files of a folder say."""
        found = self._read(source.name, folder)
        tokenizer = found.tokenizer
        endless = tokenizer is not None and tokenizer.plain and tokenizer.eos is None
        told = self._files(source, folder)
        refused, unfused, unnamed = (told.get(name, "") for name in ("refused", "unfused", "unnamed"))
        found = replace(found, refused=refused, unfused=unfused, unnamed=unnamed)
        return replace(found, key=source.key, endless=endless)

    def _read(self, name: str, folder: Path) -> Checkpoint:
        config = object_in(folder / "config.json")
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
            family=said if isinstance(said, str) else None,
            function=model_config.function(config),
            head_width=found.head_width if found else _head_width(config),
            unknown=unknown,
            ignored=remote_code.ignored(folder),
        )

    def _files(self, source: Source, folder: Path) -> dict[str, str]:
        """What its files tell, by field; where nothing is wrong with them, it is remembered while they are the same."""
        files = [file for file in sorted(folder.iterdir()) if file.name.endswith(_LOOKED_AT) and file.is_file()]
        known = ":".join([str(folder), *(f"{file.name}:{stamp(file.stat())}" for file in files), _RULES])
        known = hashlib.sha256(known.encode()).hexdigest()
        told: dict[str, str] | None = self._memory.get(known)
        if told is not None:
            return told
        try:
            told = _told(folder)
        except StageError as error:
            return {"refused": _of(source, folder, error)}
        self._memory.put(known, told)
        return told

    def _tokenizer(self, folder: Path) -> TokenizerFiles | None:
        """What the files of a tokenizer say; None if there are none."""
        files = [file for name in tokenizer_files.FILES if (file := folder / name).is_file()]
        if not any(file.name in tokenizer_files.FILES[:2] for file in files):
            return None
        known = ":".join([*(f"{file}:{stamp(file.stat())}" for file in files), "tokenizer files"])
        found = self._memory.get(known)
        if found is None:
            found = asdict(tokenizer_files.read(folder))
            self._memory.put(known, found)
        return TokenizerFiles(**found)


def _of(source: Source, folder: Path, error: StageError) -> str:
    """A reason that names the key and not the folder."""
    return f"{source.key}={source.name}: {str(error).removeprefix(f'{folder}: ').removeprefix(f'{folder}/')}"


def _has_weights(folder: Path) -> bool:
    """Whether a folder of the hub's cache has the weights, and all of them."""
    if (folder / weight_files.SINGLE).is_file():
        return True
    places = object_in(folder / weight_files.INDEX).get("weight_map")
    names = {*places.values()} if isinstance(places, dict) else set()
    return bool(names) and all(isinstance(name, str) and (folder / name).is_file() for name in names)


def _told(folder: Path) -> dict[str, str]:
    """What the headers of a folder tell of what can be done with it: `unfused` and `unnamed`.

    Raises:
        StageError: what keeps it from being loaded as it is meant.
    """
    weight_files.refuse_pointers(folder)
    config = weight_files.config(folder)
    remote_code.refuse(folder)
    for name in tokenizer_files.FILES[:2]:
        if (folder / name).is_file() and (why := _no_object(folder / name)) is not None:
            raise StageError(f"{folder / name}: {why}; take it from the model that the weights are of")
    weight_files.refuse_adapter(folder)
    usual = any((folder / name).is_file() for name in (weight_files.SINGLE, weight_files.INDEX))
    if not usual and any((folder / name).is_file() for name in weight_files.PICKLED):
        return {"unfused": "has pickled weights; only safetensors are read"}  # which transformers loads
    found = weight_files.find(folder)
    why = tensors.wrong(config, {name: tensor.shape for name, tensor in found.tensors.items()})
    if why is not None:
        raise StageError(f"{found.index or found.files[0]}: {why}")
    told = {}
    if config.get("quantization_config"):
        told["unfused"] = "is quantised (quantization_config)"
    elif odd := sorted({each.dtype for each in found.tensors.values() if not each.is_buffer} - {*_FUSED}):
        told["unfused"] = f"has tensors of dtype {', '.join(odd)}; allowed: {', '.join(_FUSED)}"
    if not any(name.startswith("model.") for name in found.tensors):
        told["unnamed"] = (
            "has the names that the class of the base model saves, without `model.`; load it with AutoModelForCausalLM "
            "and save it again"
        )
    return told


def _no_object(file: Path) -> str | None:
    """Why a file has no JSON object; None if it has."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return f"not readable JSON ({error})"
    return None if isinstance(found, dict) else f"{type(found).__name__}; expected a JSON object"


def _head_width(config: Mapping[str, Any]) -> int | None:
    """Width of an attention head, as a config of any family says it; None for latent attention, which has several."""
    if config.get("kv_lora_rank"):
        return None
    try:
        said = config.get("head_dim")
        return int(said) if said else int(config["hidden_size"]) // int(config["num_attention_heads"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _token_ids(value: Any) -> list[int]:
    """One token id, or several, as a config.json has them."""
    several = value if isinstance(value, list) else [value]
    return [each for each in several if isinstance(each, int) and not isinstance(each, bool)]
