"""What the files of a tokenizer say is what transformers makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from stages import tokenizer_files
from tests import tiny_models

TOKEN = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
SETTINGS, MAP, ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"

#: File -> changes; None takes a key away.
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "as it is": {},
    "no eos": {SETTINGS: {"eos_token": None}},
    "an eos that is new": {SETTINGS: {"eos_token": "<|im_end|>"}},
    "an eos of the vocabulary": {SETTINGS: {"eos_token": "a"}},
    "an eos as an object": {SETTINGS: {"eos_token": {**TOKEN, "content": "<eos>", "__type": "AddedToken"}}},
    "several that are new": {
        SETTINGS: {"eos_token": "<|e|>", "bos_token": "<b>", "pad_token": "<p>", "unk_token": "<u>"}
    },
    "extra ones that are new": {SETTINGS: {"eos_token": "<z>", "extra_special_tokens": ["<q>", "<r>"]}},
    "an eos of the map": {SETTINGS: {"eos_token": None}, MAP: {"eos_token": "<eos>"}},
    "a map that wins": {MAP: {"eos_token": "<x>"}},
    "a map that loses": {
        SETTINGS: {"added_tokens_decoder": {"0": {**TOKEN, "content": "<eos>"}}},
        MAP: {"eos_token": "<x>"},
    },
    "an eos of the decoder": {
        SETTINGS: {"eos_token": "<|e|>", "added_tokens_decoder": {"300": {**TOKEN, "content": "<|e|>"}}}
    },
    "an eos of the added ones": {SETTINGS: {"eos_token": "<x>"}, ADDED: {"<x>": 300}},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_models.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", CASES)
def test_they_say_what_transformers_makes_of_them(tmp_path: Path, made: Path, name: str) -> None:
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for file, changes in CASES[name].items():
        place = tmp_path / file
        said = json.loads(place.read_text()) if place.exists() else {}
        said = {key: value for key, value in (said | changes).items() if value is not None}
        place.write_text(json.dumps(said))
    found, loaded = tokenizer_files.read(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert (found.eos, found.pad, found.plain) == (loaded.eos_token, loaded.pad_token, True)
    assert found.ids == {
        text: loaded.convert_tokens_to_ids(text) for text in (loaded.eos_token, loaded.pad_token) if text is not None
    }


def test_a_class_with_tokens_of_its_own_may_have_an_eos(tmp_path: Path, made: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((made / "tokenizer.json").read_bytes())
    (tmp_path / SETTINGS).write_text('{"tokenizer_class": "LlamaTokenizer"}')
    found = tokenizer_files.read(tmp_path)
    assert found.eos is None and not found.plain
