"""Which files of a folder are the checkpoint: decided here once, for transformers, vLLM and our own reader.

Where a folder says two things the three would each believe another of them: transformers prefers a single file to an
index, vLLM an index to a single file, and peft, which transformers asks, an adapter to both. So such a folder is
refused, with the names of the files that contradict each other. Only headers and sizes are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stages import headers
from stages.contract import StageError
from stages.headers import Stored

CONFIG = "config.json"
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"

#: Pickled weights, which transformers reads where there are no others.
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")

#: Files beside the weights that are read, by suffix.
_BESIDE = (".json", ".jinja", ".model", ".tiktoken", ".txt")

#: A file this small may be a pointer of Git LFS; none of them has more bytes.
_POINTER = 1024

#: Bytes that are compared at once.
_CHUNK = 1 << 22


@dataclass(frozen=True)
class WeightFiles:
    """The safetensors files of a checkpoint.

    Attributes:
        files: in the order of their names.
        index: the index that names them; None for one file that needs none.
        headers: of each file, byte for byte.
        tensors: by name, in the order of files and data.
    """

    files: tuple[Path, ...]
    index: Path | None
    headers: Mapping[Path, bytes]
    tensors: Mapping[str, Stored]


def find(folder: Path) -> WeightFiles:
    """The safetensors files that a folder's checkpoint is in.

    Raises:
        StageError: there are none, some are missing or damaged, or the folder says two things.
    """
    refuse_adapter(folder)
    single, index = _named(folder)
    if index is None:
        whole = _opened([single], None)
        _refuse_stray(single)
        return whole
    places = _places(index)
    files = [folder / name for name in sorted(set(places.values()))]
    if single.is_file() and files != [single]:
        return _one_of_two(single, index, files, places)
    return _of_index(index, files, places)


def refuse_adapter(folder: Path) -> None:
    """Refuse a folder with the settings of an adapter: transformers would put it on top of the weights.

    Raises:
        StageError: it has them.
    """
    if not (folder / ADAPTER).is_file():
        return
    if any(folder.glob("model*.safetensors")) or any((folder / name).is_file() for name in PICKLED):
        raise StageError(
            f"{folder}: {ADAPTER} lies beside the weights of a full model: which is meant? If the adapter is merged "
            f"into them, remove {ADAPTER} (and adapter_model.*); if not, merge it (peft's merge_and_unload) and save "
            "the result in a folder of its own"
        )
    raise StageError(
        f"{folder}: {ADAPTER} says that this is an adapter, not a model; merge it into its base (peft's "
        "merge_and_unload) and save the result"
    )


def refuse_pointers(folder: Path) -> None:
    """Refuse small files beside the weights (config, tokenizer) that a clone without git-lfs left as pointers.

    Raises:
        StageError: with all of them.
    """
    small = [
        file
        for file in sorted(folder.iterdir())
        if file.name.endswith(_BESIDE) and file.is_file() and file.stat().st_size <= _POINTER
    ]
    found = [file.name for file in small if headers.is_pointer(file)]
    if found:
        raise StageError(f"{folder}: Git LFS pointers in place of {', '.join(found)}; run `git lfs pull` there")


def config(folder: Path) -> dict[str, Any]:
    """The config.json of a folder.

    Raises:
        StageError: it is missing, or no JSON object.
    """
    file = folder / CONFIG
    try:
        found = headers.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StageError(f"{folder}: no {CONFIG}; it belongs beside the weights") from None
    except (OSError, ValueError, RecursionError) as error:
        headers.refuse_pointer(file)
        raise StageError(
            f"{file}: not readable JSON ({error}); take it from the model that the weights are of"
        ) from None
    if not isinstance(found, dict):
        raise StageError(f"{file}: {type(found).__name__}; expected a JSON object with model_type and the shapes")
    return found


def _named(folder: Path) -> tuple[Path, Path | None]:
    """The single file, and the index if there is one; as config.json says, or by their usual names."""
    said = _said(folder)
    single, index = folder / SINGLE, folder / INDEX
    if said is not None:
        usual = [file.name for file in (single, index) if file.is_file() and file.name != said]
        if usual:
            raise StageError(
                f"{folder}: {CONFIG} says transformers_weights={said!r}, but {' and '.join(usual)} is there too, which "
                "vLLM reads: which is meant? Remove the other"
            )
        single, index = (single, folder / said) if said.endswith(".index.json") else (folder / said, index)
    if index.is_file():
        return single, index
    if not single.is_file():
        shards = sorted(file.name for file in folder.glob("model-*.safetensors"))
        if shards:
            raise StageError(
                f"{folder}: {shards[0]} is there, but no {INDEX} that names the shards; take it from the model"
            )
        raise StageError(f"{folder}: neither {SINGLE} nor {INDEX}: only safetensors checkpoints are read")
    return single, None


def _said(folder: Path) -> str | None:
    """The file that config.json names as the weights; hardly any does."""
    said = config(folder).get("transformers_weights") if (folder / CONFIG).is_file() else None
    if said is not None and (not isinstance(said, str) or not _inside(said)):
        raise StageError(f"{folder / CONFIG}: transformers_weights={said!r}; expected the name of a file in the folder")
    return said


def _places(index: Path) -> dict[str, str]:
    """Tensor -> file, as an index says."""
    try:
        places: dict[str, str] = headers.parse(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(places.values()))
        outside = [name for name in names if not _inside(name)]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        headers.refuse_pointer(index)
        raise StageError(
            f"{index}: not a readable index ({error!r}); take it from the model, with its shards"
        ) from None
    if not names:
        raise StageError(f"{index}: names no tensor")
    if outside:
        raise StageError(f"{index}: names {outside[0]!r}, which is outside of the folder; allowed: files in it")
    return places


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return name != "" and not path.is_absolute() and ".." not in path.parts


def _of_index(index: Path, files: list[Path], places: Mapping[str, str]) -> WeightFiles:
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise StageError(f"{index.parent}: {index.name} names files that are missing: {', '.join(missing)}")
    found = _opened(files, index)
    absent = sorted(places.keys() - found.tensors.keys())
    if absent:
        raise StageError(f"{index}: names {absent[0]}, which is in none of its files ({len(absent)} such)")
    return found


def _one_of_two(single: Path, index: Path, files: list[Path], places: Mapping[str, str]) -> WeightFiles:
    """A single file and an index of others: the single file, if both have the same tensors, byte for byte."""
    folder = single.parent
    which = f"{folder}: {single.name} and {index.name} are both there"
    choose = (
        f"which is the checkpoint? Remove {index.name} (and its shards), or {single.name}: transformers would read "
        f"{single.name}, vLLM what {index.name} names"
    )
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise StageError(f"{which}, and {index.name} names {', '.join(missing[:3])}, which are missing: {choose}")
    one, shards = _opened([single], None), _of_index(index, files, places)
    differs = _difference(one.tensors, shards.tensors)
    if differs is not None:
        raise StageError(f"{which}, and differ in {differs}: {choose}")
    return one


def _difference(one: Mapping[str, Stored], other: Mapping[str, Stored]) -> str | None:
    """The first tensor that two files do not have alike; None if they agree in every byte."""
    for name in sorted(one.keys() | other.keys()):
        ours, theirs = one.get(name), other.get(name)
        if ours is None or theirs is None or (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
            return name
        if not _equal(ours, theirs):
            return name
    return None


def _equal(ours: Stored, theirs: Stored) -> bool:
    """Whether two tensors have the same bytes."""
    with ours.file.open("rb") as left, theirs.file.open("rb") as right:
        left.seek(ours.start)
        right.seek(theirs.start)
        rest = ours.end - ours.start
        while rest > 0:
            size = min(rest, _CHUNK)
            if left.read(size) != right.read(size):
                return False
            rest -= size
    return True


def _refuse_stray(single: Path) -> None:
    """Refuse shards beside a single file, without an index: vLLM reads all files that there are."""
    shards = sorted(file.name for file in single.parent.glob("model-[0-9]*-of-[0-9]*.safetensors"))
    if shards:
        raise StageError(
            f"{single.parent}: {single.name} and {shards[0]} are both there, and no {INDEX}: which is the checkpoint? "
            f"Remove the shards, or {single.name} and bring their index back: vLLM would read all of them"
        )


def _opened(files: Iterable[Path], index: Path | None) -> WeightFiles:
    """The headers of all files, in each of which a tensor of a name is only once."""
    heads: dict[Path, bytes] = {}
    tensors: dict[str, Stored] = {}
    for file in files:
        heads[file], found = headers.read(file)
        for name in sorted(found.keys() & tensors.keys()):
            raise StageError(f"{file.parent}: {name} is in both {tensors[name].file.name} and {file.name}")
        tensors |= found
    if not tensors:
        raise StageError(f"{next(iter(heads))}: has no tensors")
    return WeightFiles(tuple(heads), index, heads, tensors)
