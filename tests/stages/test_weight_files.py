"""Which files are the checkpoint: what contradicts itself is refused by name, what only looks odd is not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from stages import weight_files
from stages.contract import StageError
from stages.weight_files import ADAPTER, INDEX, SINGLE

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * "0" + "\nsize 59864\n"
TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b.weight": torch.ones(4), "c.weight": torch.zeros(1)}
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def single(folder: Path, change: float = 0.0) -> Path:
    folder.mkdir(exist_ok=True)
    save_file({name: values + change for name, values in TENSORS.items()}, folder / SINGLE)
    return folder


def shards(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    names = list(TENSORS)
    parts = dict(zip(SHARDS, (names[:2], names[2:]), strict=True))
    for file, held in parts.items():
        save_file({name: TENSORS[name] for name in held}, folder / file)
    index(folder, {name: file for file, held in parts.items() for name in held})
    return folder


def index(folder: Path, places: object) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))


def renamed(folder: Path, change: Callable[[str], str]) -> None:
    places = json.loads((folder / INDEX).read_text())["weight_map"]
    index(folder, {name: change(file) for name, file in places.items()})


def edit_header(file: Path, change: Callable[[bytes], bytes]) -> None:
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    text = change(content[8 : 8 + size].rstrip())
    file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def twice(header: bytes) -> bytes:
    return header[:-1] + b',"c.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'


def moved(header: bytes) -> bytes:
    entries = json.loads(header)
    entries["c.weight"]["data_offsets"] = entries["b.weight"]["data_offsets"]
    entries["c.weight"]["shape"] = [4]
    last = max(entries, key=lambda name: entries[name]["data_offsets"][1])
    entries[last]["data_offsets"][1] = max(each["data_offsets"][1] for each in entries.values())
    return json.dumps(entries).encode()


def both(folder: Path, change: float) -> None:
    shards(folder)
    single(folder, change)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda at: None, f"neither {SINGLE} nor {INDEX}: only safetensors"),
    "empty": (lambda at: single(at) / SINGLE and (at / SINGLE).write_bytes(b""), f"{SINGLE}: the file is empty"),
    "cut": (
        lambda at: (single(at) / SINGLE).write_bytes((at / SINGLE).read_bytes()[:-1]),
        r"truncated or damaged: \d+ bytes, its header describes \d+",
    ),
    "padded": (
        lambda at: (single(at) / SINGLE).write_bytes((at / SINGLE).read_bytes() + bytes(8)),
        "truncated or damaged",
    ),
    "less than a header": (lambda at: (single(at) / SINGLE).write_bytes(b"abc"), "3 bytes, less than its header has"),
    "a web page": (lambda at: (single(at) / SINGLE).write_text(99 * "<html>"), "not a readable safetensors file"),
    "a tensor twice": (lambda at: edit_header(single(at) / SINGLE, twice), "names c.weight twice, with two values"),
    "tensors over one another": (lambda at: edit_header(single(at) / SINGLE, moved), "damaged"),
    "a pointer": (
        lambda at: (single(at) / SINGLE).write_text(POINTER),
        f"{SINGLE}: a Git LFS pointer, not the file itself; run `git lfs pull`",
    ),
    "a pointer for a shard": (
        lambda at: (shards(at) / SHARDS[1]).write_text(POINTER),
        f"{SHARDS[1]}: a Git LFS pointer",
    ),
    "a pointer for the index": (lambda at: (shards(at) / INDEX).write_text(POINTER), f"{INDEX}: a Git LFS pointer"),
    "a shard that is missing": (
        lambda at: (shards(at) / SHARDS[0]).unlink(),
        f"names files that are missing: {SHARDS[0]}",
    ),
    "shards without an index": (lambda at: (shards(at) / INDEX).unlink(), f"{SHARDS[0]} is there, but no {INDEX}"),
    "an index of more": (
        lambda at: index(shards(at), {"x": SHARDS[0]}),
        r"names x, which is in none of its files \(1 such\)",
    ),
    "an index that is cut": (lambda at: (shards(at) / INDEX).write_text('{"weight_map": {'), "not a readable index"),
    "an index that is a list": (lambda at: (shards(at) / INDEX).write_text("[]"), "not a readable index"),
    "an index of nothing": (lambda at: index(shards(at), {}), "names no tensor"),
    "an index that says two places": (
        lambda at: (shards(at) / INDEX).write_text(f'{{"weight_map": {{"a": "{SHARDS[0]}", "a": "{SHARDS[1]}"}}}}'),
        "names a twice, with two values",
    ),
    "an index that leads out": (
        lambda at: renamed(shards(at), lambda file: f"../{at.name}/{file}"),
        "which is outside of the folder; allowed: files in it",
    ),
    "an index of absolute paths": (
        lambda at: renamed(shards(at), lambda file: str(at / file)),
        "outside of the folder",
    ),
    "a tensor in two shards": (
        lambda at: save_file(TENSORS, shards(at) / SHARDS[1]),
        f"a.weight is in both {SHARDS[0]} and {SHARDS[1]}",
    ),
    "an old index": (
        lambda at: index(single(at), dict.fromkeys(TENSORS, SHARDS[0])),
        f"{SINGLE} and {INDEX} are both there, and {INDEX} names {SHARDS[0]}, which are missing",
    ),
    "an old single file": (lambda at: both(at, 1.0), f"{SINGLE} and {INDEX} are both there, and differ in a.weight"),
    "shards beside a single file": (
        lambda at: (both(at, 0.0), (at / INDEX).unlink()),
        f"{SINGLE} and {SHARDS[0]} are both there, and no {INDEX}",
    ),
    "an adapter beside a model": (
        lambda at: (single(at) / ADAPTER).write_text("{}"),
        f"{ADAPTER} lies beside the weights of a full model: which is meant",
    ),
    "an adapter alone": (lambda at: (at / ADAPTER).write_text("{}"), f"{ADAPTER} says that this is an adapter"),
    "other weights by config": (
        lambda at: (shutil.copy(single(at) / SINGLE, at / "other.safetensors"), said(at, "other.safetensors")),
        f"transformers_weights='other.safetensors', but {SINGLE} is there too",
    ),
    "weights of somewhere": (lambda at: said(single(at), "/etc/passwd"), "expected the name of a file in the folder"),
}


def said(folder: Path, file: str) -> None:
    (folder / "config.json").write_text(json.dumps({"transformers_weights": file}))


@pytest.mark.parametrize("name", REFUSED)
def test_what_contradicts_itself_is_refused_by_name(tmp_path: Path, name: str) -> None:
    make, message = REFUSED[name]
    folder = tmp_path / "model"
    folder.mkdir()
    make(folder)
    with pytest.raises(StageError, match=message):
        weight_files.find(folder)


ACCEPTED: dict[str, Callable[[Path], object]] = {
    "pickles beside it": lambda at: (single(at) / "pytorch_model.bin").write_text(POINTER),
    "an index of pickles": lambda at: (single(at) / "pytorch_model.bin.index.json").write_text("{}"),
    "a consolidated copy": lambda at: shutil.copy(single(at) / SINGLE, at / "consolidated.safetensors"),
    "an original folder": lambda at: single(single(at) / "original"),
    "a gguf": lambda at: (single(at) / "model-q4.gguf").write_bytes(b"GGUF"),
    "a picture that is a pointer": lambda at: (single(at) / "figure.png").write_text(POINTER),
    "an index of the single file": lambda at: index(single(at), dict.fromkeys(TENSORS, SINGLE)),
    "an index of shards that agree": lambda at: both(at, 0.0),
    "shards of another number": lambda at: save_file(TENSORS, shards(at) / "model-00001-of-00009.safetensors"),
    "an index without all names": lambda at: index(shards(at), {"a.weight": SHARDS[0], "c.weight": SHARDS[1]}),
    "its usual name by config": lambda at: said(single(at), SINGLE),
    "another name by config": lambda at: (
        (single(at) / SINGLE).rename(at / "other.safetensors"),
        said(at, "other.safetensors"),
    ),
    "links to blobs": lambda at: (
        (single(at) / SINGLE).rename(at.parent / "blob"),
        (at / SINGLE).symlink_to("../blob"),
    ),
    "files of a trainer": lambda at: (single(at) / "optimizer.pt").write_bytes(b"x"),
    "an adapter without settings": lambda at: save_file(TENSORS, single(at) / "adapter_model.safetensors"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_only_looks_odd_is_the_checkpoint_that_it_was(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    ACCEPTED[name](folder)
    found = weight_files.find(folder)
    assert {each.name: each.shape for each in found.tensors.values()} == {
        name: tuple(values.shape) for name, values in TENSORS.items()
    }
    assert all(file.is_file() for file in found.files)
    weight_files.refuse_pointers(folder)


def test_a_pointer_among_the_small_files_is_named(tmp_path: Path) -> None:
    folder = single(tmp_path / "model")
    (folder / "tokenizer.json").write_text(POINTER)
    with pytest.raises(StageError, match=r"Git LFS pointers in place of tokenizer\.json; run `git lfs pull`"):
        weight_files.refuse_pointers(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model_type": "llama",', "not readable JSON"),
        ("", "not readable JSON"),
        ("[]", "list; expected a JSON object"),
        ('{"vocab_size": 1, "vocab_size": 2}', "names vocab_size twice"),
        (POINTER, "a Git LFS pointer"),
        (None, "no config.json; it belongs beside the weights"),
    ],
)
def test_a_config_that_is_none(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(StageError, match=message):
        weight_files.config(tmp_path)
