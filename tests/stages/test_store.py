"""The store: what is published, what is being worked on, and what one look at the disk remembers."""

from pathlib import Path

from stages.store import Store

FINGERPRINT = "ab" * 32


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
