"""The store: what is published, what is being worked on, and what is remembered from one look to the next."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from stages import artifact
from stages.identity import fingerprint, identity
from stages.store import RECORDS, Memory, Store

PREIMAGE = identity("toy", 1, {"a": 1}, {})
FINGERPRINT = fingerprint(PREIMAGE)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """An artifact of the stage `toy` with one output, in a store at `tmp_path`."""
    draft = tmp_path / "toy" / ".draft"
    (draft / "model").mkdir(parents=True)
    (draft / "model" / "weights.bin").write_bytes(b"weights")
    record = {"fingerprint": FINGERPRINT, "identity": PREIMAGE, "label": "A", "config": {}, "inputs": {}, "summary": {}}
    final = Store(tmp_path).final("toy", "A", FINGERPRINT)
    artifact.publish(draft, final, record)
    return final


def overwritten(file: Path) -> None:
    """Change the bytes of a file so that nothing but reading them shows it."""
    seen = file.stat()
    file.write_bytes(b"-" * seen.st_size)
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def remembered(root: Path) -> Store:
    """A store that is opened after another one has found the artifact and remembered it."""
    before = Store(root)
    assert before.find("toy", FINGERPRINT) is not None
    before.remember()
    return Store(root)


def test_an_artifact_is_found_by_its_fingerprint_whatever_its_label(published: Path, tmp_path: Path) -> None:
    moved = published.rename(published.with_name(f"other label-{FINGERPRINT[:10]}"))
    store = Store(tmp_path)
    assert store.find("toy", FINGERPRINT) == moved
    assert store.find("toy", FINGERPRINT[:10] + "0" * 54) is None
    record = store.record("toy", FINGERPRINT)
    assert record is not None and record["identity"] == PREIMAGE


def test_a_record_that_has_not_changed_is_not_read_again(published: Path, tmp_path: Path) -> None:
    store = remembered(tmp_path)
    overwritten(published / artifact.RECORD)
    assert store.find("toy", FINGERPRINT) == published
    (tmp_path / RECORDS).unlink()
    assert Store(tmp_path).find("toy", FINGERPRINT) is None


DAMAGES: dict[str, Callable[[Path], object]] = {
    "an output is deleted": lambda folder: (folder / "model" / "weights.bin").unlink(),
    "an output is truncated": lambda folder: (folder / "model" / "weights.bin").write_bytes(b"weigh"),
    "the record is deleted": lambda folder: (folder / artifact.RECORD).unlink(),
    "the record is truncated": lambda folder: os.truncate(folder / artifact.RECORD, 100),
    "the record is replaced": lambda folder: (folder / artifact.RECORD).write_text("{}"),
    "the record is an older copy": lambda folder: (
        (folder / "copy").write_bytes(b"-" * (folder / artifact.RECORD).stat().st_size),
        os.replace(folder / "copy", folder / artifact.RECORD),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_noticed_however_well_the_artifact_is_remembered(
    published: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    store = remembered(tmp_path)
    assert store.find("toy", FINGERPRINT) == published
    damage(published)
    for later in (store, Store(tmp_path)):
        assert later.find("toy", FINGERPRINT) is None
        assert later.record("toy", FINGERPRINT) is None
        assert later.damaged("toy", FINGERPRINT) == published


def test_what_is_mended_is_found_again(published: Path, tmp_path: Path) -> None:
    store = remembered(tmp_path)
    weights = published / "model" / "weights.bin"
    weights.rename(tmp_path / "away")
    assert store.find("toy", FINGERPRINT) is None
    (tmp_path / "away").rename(weights)
    assert store.find("toy", FINGERPRINT) == published and store.damaged("toy", FINGERPRINT) is None


def test_a_node_is_unfinished_while_its_folder_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.job("toy", FINGERPRINT).mkdir(parents=True)
    assert store.unfinished("toy", FINGERPRINT)
    assert not store.unfinished("toy", "cd" * 32)
    assert not store.unfinished("other", FINGERPRINT)


def test_a_listing_is_read_once_until_it_is_refreshed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.unfinished("toy", FINGERPRINT)
    store.job("toy", FINGERPRINT).mkdir(parents=True)
    assert not store.unfinished("toy", FINGERPRINT)
    store.refresh()
    assert store.unfinished("toy", FINGERPRINT)


def test_looking_leaves_no_trace_unless_asked_to_remember(published: Path, tmp_path: Path) -> None:
    Store(tmp_path).find("toy", FINGERPRINT)
    assert {entry.name for entry in tmp_path.iterdir()} == {"toy"}


def test_a_memory_keeps_what_others_wrote_since(tmp_path: Path) -> None:
    mine, theirs = Memory(tmp_path / "memory.json"), Memory(tmp_path / "memory.json")
    mine.put("a", 1)
    theirs.put("b", [2])
    mine.keep()
    theirs.keep()
    after = Memory(tmp_path / "memory.json")
    assert (after.get("a"), after.get("b"), after.get("c")) == (1, [2], None)
    assert [entry.name for entry in tmp_path.iterdir()] == ["memory.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_memory_that_is_lost_is_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "memory.json").write_text(text, encoding="latin-1")
    memory = Memory(tmp_path / "memory.json")
    assert memory.get("a") is None
    memory.put("a", 1)
    memory.keep()
    assert json.loads((tmp_path / "memory.json").read_text()) == {"a": 1}


def test_a_memory_without_a_place_is_only_for_now(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "nowhere" / "memory.json")
    memory.put("a", 1)
    memory.keep()
    assert memory.get("a") == 1 and not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as two users")
def test_a_memory_is_believed_of_this_user_and_of_the_owner_of_the_store_alone(tmp_path: Path) -> None:
    file = tmp_path / "memory.json"
    memory = Memory(file)
    memory.put("data.jsonl:1:2:3", "the hash of what it was")
    memory.keep()
    os.chown(file, 64002, -1)
    assert Memory(file).get("data.jsonl:1:2:3") is None
    memory = Memory(file)
    memory.put("other", 1)
    memory.keep()
    assert Memory(file).get("data.jsonl:1:2:3") is None  # it was not copied into a file that is believed
    os.chown(file, 64002, -1)
    os.chown(tmp_path, 64002, -1)
    assert Memory(file).get("other") == 1
