"""Processes of one user meet where nobody else can write, and believe nothing else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages import meeting_place

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


@pytest.fixture
def node(tmp_path: Path) -> Path:
    folder = tmp_path / "store" / "sft" / ".0123456789abcdef"
    folder.mkdir(parents=True)
    (tmp_path / "store").chmod(0o2775)
    return folder


def test_what_is_left_is_read_whatever_the_umask_is(node: Path) -> None:
    before = os.umask(0)
    try:
        file = meeting_place.of(node) / "ranks.json"
        meeting_place.leave(file, b"here")
    finally:
        os.umask(before)
    assert meeting_place.read(file) == b"here"
    assert file.stat().st_mode & 0o777 == 0o600
    assert not file.parent.stat().st_mode & 0o022
    assert [each.name for each in file.parent.iterdir()] == ["ranks.json"]
    assert "sft.0123456789abcdef" in file.parts  # each node has its own
    meeting_place.clear(node)
    assert not file.parent.exists()


def link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to(file.with_name("elsewhere"))


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


PLANTED = [
    link,
    pipe,
    lambda file: file.chmod(0o660),
    lambda file: file.chmod(0o604),
    pytest.param(lambda file: os.chown(file, 12345, -1), marks=needs_root),
]


@pytest.mark.parametrize("plant", PLANTED, ids=["a link", "a pipe", "written by others", "read by others", "another's"])
def test_what_somebody_else_could_have_left_is_not_believed(node: Path, plant: Callable[[Path], None]) -> None:
    file = meeting_place.of(node) / "ranks.json"
    meeting_place.leave(file, b"there")
    plant(file)
    with pytest.raises(OSError, match=r"ranks\.json"):
        meeting_place.read(file)


ATTACKER, OWNER, LATE, GROUP = 12346, 12347, 12348, 12345


@pytest.fixture
def shared() -> Iterator[Path]:
    """A node in a store that a group shares, where all can reach it."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        folder = Path(made, "store", "sft", ".0123456789abcdef")
        folder.mkdir(parents=True)
        for each in (folder, *folder.parents[:2]):
            os.chown(each, 0, GROUP)
            each.chmod(0o2775)
        yield folder


@needs_root
def test_another_member_of_the_group_cannot_change_what_was_left(shared: Path) -> None:
    place = shared.parents[1] / "users" / str(OWNER) / "meetings" / "sft.0123456789abcdef"
    assert as_user(OWNER, lambda: meeting_place.leave(meeting_place.of(shared) / "ranks.json", b"here")) == ""
    for attack in (
        lambda: meeting_place.leave(place / "ranks.json", b"evil"),
        lambda: (place / "ranks.json").unlink(),
        lambda: place.parents[1].rename(place.parents[2] / "gone"),
        lambda: place.rename(shared / "gone"),
        lambda: (place / "ranks.json").read_bytes(),
    ):
        assert "PermissionError" in as_user(ATTACKER, attack)
    assert "what it says is not believed" in as_user(0, lambda: meeting_place.read(place / "ranks.json"))
    assert as_user(OWNER, lambda: print(meeting_place.read(place / "ranks.json"))) == ""


@needs_root
def test_a_place_that_was_planted_is_named_and_not_used(shared: Path) -> None:
    planted = shared.parents[1] / "users" / str(LATE)
    assert as_user(ATTACKER, lambda: meeting_place.of(shared) and planted.mkdir()) == ""
    said = as_user(LATE, lambda: meeting_place.of(shared))
    assert f"StageError('{planted} belongs to user {ATTACKER}, not to user {LATE}" in said


def as_user(user: int, act: Callable[[], object]) -> str:
    """What is raised where a child process of another user does something; nothing if it can."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(GROUP)
            os.setuid(user)
            act()
        except BaseException as error:
            os.write(theirs, repr(error).encode())
        os._exit(0)
    os.close(theirs)
    with open(ours) as said:
        found = said.read()
    os.waitpid(child, 0)
    return found
