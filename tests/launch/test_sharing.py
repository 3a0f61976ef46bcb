"""A store that a group shares: the group may read what is created there, and write what is for all of it to add to."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch import sharing, snapshot
from orchestrator import runs
from orchestrator.run import Run
from stages.store import Store
from tests.conftest import carry_out, study

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture(params=[0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def wrong(root: Path) -> set[str]:
    """What the group may write, but for folders where each may remove their own files alone; what it may not read,
    though the owner may; and folders that pass the group on to nothing."""
    found = set()
    for place, folders, files in os.walk(root):  # which bears that a running study removes what it has listed
        for name in (*folders, *files):
            with contextlib.suppress(FileNotFoundError):
                mode = (Path(place) / name).stat().st_mode
                opened = mode & stat.S_IWGRP and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX)
                if opened or not mode & stat.S_IRGRP or (stat.S_ISDIR(mode) and not mode & stat.S_ISGID):
                    found.add(name)
    return found


@pytest.mark.usefixtures("umask")
def test_a_study_in_a_shared_store(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    root.chmod(0o2770)
    sharing.join(root)
    _, graph, store = study(root, limit=20.0)
    runs.record("toy", [], graph, store)
    while_running: set[str] = set()

    def watch(run: Run) -> None:
        while_running.update(wrong(root))

    outcome = carry_out(graph, store, "local", watch)
    assert outcome.failed and outcome.executed
    store.remember()
    assert wrong(root) == while_running == set()


@pytest.mark.usefixtures("umask")
def test_a_store_of_ones_own_stays_ones_own(tmp_path: Path) -> None:
    before = sharing._umask()
    (tmp_path / "store").mkdir(mode=0o755)
    sharing.join(tmp_path / "store")
    sharing.join(tmp_path / "nowhere")
    assert sharing._umask() == before


def test_what_a_worker_makes_is_for_the_group_to_read(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    before = os.umask(0o007)
    try:
        with sharing.closed(tmp_path):
            (tmp_path / "log").touch()
            assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o640
        assert sharing._umask() == 0o007
    finally:
        os.umask(before)


@pytest.mark.parametrize(("root", "made"), [(0o2775, 0o3775), (0o2770, 0o3770), (0o777, 0o1777)])
def test_a_folder_that_all_share_is_sticky_and_one_of_before_becomes_so(tmp_path: Path, root: int, made: int) -> None:
    tmp_path.chmod(root)
    (tmp_path / "old").mkdir()
    (tmp_path / "old").chmod(root)
    for name in ("old", "new"):
        assert stat.S_IMODE(sharing.folder(tmp_path, name).stat().st_mode) == made


def test_a_folder_of_a_store_of_ones_own_is_any_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    assert not sharing.folder(tmp_path, "link", "stage").stat().st_mode & (stat.S_ISVTX | stat.S_IWGRP)


def test_what_libraries_write_for_the_user_alone_is_handed_over(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    folder = tmp_path / "model"
    folder.mkdir(mode=0o700)
    (folder / "weights").touch(mode=0o600)
    (folder / "script").touch(mode=0o700)
    (folder / "link").symlink_to("nowhere")
    sharing.hand_over(folder, tmp_path)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) & 0o777 for path in (folder, folder / "weights", folder / "script")
    }
    assert modes == {"model": 0o750, "weights": 0o640, "script": 0o750}


@pytest.mark.usefixtures("umask")
def test_code_that_was_frozen_is_its_users_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    sharing.join(tmp_path)
    frozen = snapshot.take(tmp_path).folder
    modes = [path.stat().st_mode for path in (frozen, *frozen.rglob("*"))]
    assert len(modes) > 100 and not any(mode & (stat.S_IRWXG | stat.S_IRWXO) for mode in modes)


def test_in_a_store_of_ones_own_nothing_is_handed_over(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "weights").touch(mode=0o600)
    sharing.hand_over(tmp_path, tmp_path)
    assert stat.S_IMODE((tmp_path / "weights").stat().st_mode) == 0o600


def test_a_store_that_is_not_there_yet(tmp_path: Path) -> None:
    assert not sharing.shared(Store(tmp_path / "store").root)
