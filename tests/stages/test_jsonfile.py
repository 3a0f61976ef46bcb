"""JSON that others may have spoilt is read as data, or not at all; nobody waits for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import jsonfile
from stages.jsonfile import Spoilt


def link(file: Path) -> None:
    file.with_name("secret").write_text("{}")
    file.symlink_to(file.with_name("secret"))


def sparse(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(1 << 40)


#: What somebody may put where a JSON file belongs.
PLANTED: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "link": link,
    "dangling link": lambda file: file.symlink_to(file.with_name("nowhere")),
    "folder": Path.mkdir,
    "sparse": sparse,
    "nested": lambda file: file.write_text("[" * 200_000),
    "deep objects": lambda file: file.write_text('{"a":' * 200_000),
    "cut short": lambda file: file.write_text('{"schema": 1'),
    "empty": lambda file: file.write_text(""),
    "bytes": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "long number": lambda file: file.write_text("9" * 100_000),
}


@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
def test_what_is_planted_is_refused_at_once(tmp_path: Path, plant: Callable[[Path], object]) -> None:
    plant(tmp_path / "file.json")
    with pytest.raises((Spoilt, OSError)):
        jsonfile.read(tmp_path / "file.json")


def test_what_is_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text('{"name": "é", "values": [1, 2.5, null]}', encoding="utf-8")
    assert jsonfile.read(tmp_path / "file.json") == {"name": "é", "values": [1, 2.5, None]}
    with pytest.raises(FileNotFoundError):
        jsonfile.read(tmp_path / "nothing.json")


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    link(tmp_path / "file.json")
    jsonfile.write(tmp_path / "file.json", {"a": 1})
    assert (tmp_path / "secret").read_text() == "{}"
    assert jsonfile.read(tmp_path / "file.json") == {"a": 1}
    with pytest.raises(TypeError):
        jsonfile.write(tmp_path / "file.json", {"a": object()})
    assert jsonfile.read(tmp_path / "file.json") == {"a": 1}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file.json", "secret"]


def test_a_tokenizers_own_file_is_read_whole(tmp_path: Path) -> None:
    """transformers writes such a number into every tokenizer_config.json, and a vocabulary has many values."""
    settings = {"eos_token": "</s>", "model_max_length": int(1e30), "many": [*range(jsonfile.VALUES + 1)]}
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(settings))
    assert jsonfile.object_in(file) == settings
