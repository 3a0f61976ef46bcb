"""A folder of one's own in a store: nobody else can write there, and what another user has put there is not taken."""

from __future__ import annotations

import os
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages import own
from stages.own import NotOwn
from stages.store import Memory

ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as two users")
#: Two numbers of users, whom no account need to have, and of the group that they share.
ALICE, MALLORY, LAB = 64001, 64002, 64000


@pytest.fixture(autouse=True, params=[0o022, 0o077, 0o000], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def store(folder: Path, mode: int) -> Path:
    made = folder / "store"
    made.mkdir()
    made.chmod(mode)
    return made


@pytest.mark.parametrize(
    ("root", "users", "mine"),
    [(0o700, 0o700, 0o700), (0o755, 0o755, 0o755), (0o2770, 0o3770, 0o2750), (0o2775, 0o3775, 0o2755)],
    ids=oct,
)
def test_others_read_it_as_they_read_the_store_and_never_write(
    tmp_path: Path, root: int, users: int, mine: int
) -> None:
    place = store(tmp_path, root)
    made = own.folder(place, "jobs", "token")
    assert made == place / "users" / own.login(os.getuid()) / "jobs" / "token"
    assert mode(place / "users") == users
    assert {mode(each) for each in (made, made.parent, made.parent.parent)} == {mine}
    assert own.folder(place, "jobs", "token") == made
    assert [each.name for each in place.iterdir()] == ["users"]


def planted_link(place: Path) -> Path:
    elsewhere = place.parent / "elsewhere"
    elsewhere.mkdir()
    own.folder(place)
    link = own.folder(place) / "jobs"
    link.symlink_to(elsewhere)
    return link


def planted_file(place: Path) -> Path:
    file = place / "users"
    file.touch()
    return file


def opened(place: Path) -> Path:
    made = own.folder(place, "jobs")
    made.chmod(0o775)
    return made


def unsticky(place: Path) -> Path:
    if os.geteuid() != 0:
        pytest.skip("only root gives folders away")
    own.folder(place)
    (place / "users").chmod(0o775)
    os.chown(place / "users", MALLORY, -1)
    return place / "users"


@pytest.mark.parametrize("plant", [planted_link, planted_file, opened, unsticky], ids=lambda plant: plant.__name__)
def test_a_folder_that_others_may_write_or_move_is_refused_by_name(
    tmp_path: Path, plant: Callable[[Path], Path]
) -> None:
    place = store(tmp_path, 0o2775)
    wrong = plant(place)
    with pytest.raises(NotOwn, match=str(wrong)):
        own.folder(place, "jobs", "token")


def test_a_user_without_a_name_has_its_number() -> None:
    assert own.login(ALICE) == str(ALICE)


def child(uid: int, act: Callable[[], object]) -> str:
    """The name of the exception that an act ends with as another user of the group; empty if it ends well."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(LAB, LAB, LAB)
            os.setresuid(uid, uid, uid)
            act()
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with open(reading) as stream:
        return stream.read()


@pytest.fixture
def shared() -> Iterator[Path]:
    """A store that a group may write in, in a folder that all may enter: pytest closes its own to others."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        os.chmod(folder, 0o755)
        place = store(Path(folder), 0o755)
        os.chown(place, 0, LAB)
        place.chmod(0o2775)
        yield place


@ROOT_ONLY
def test_a_member_of_the_group_reads_it_and_cannot_write_move_or_replace_it(shared: Path) -> None:
    assert child(ALICE, lambda: own.folder(shared, "jobs").joinpath("order").write_text("hers")) == ""
    hers = shared / "users" / str(ALICE)
    os.chmod(hers / "jobs/order", 0o644)
    assert child(MALLORY, (hers / "jobs/order").read_text) == ""
    acts: list[Callable[[], object]] = [
        lambda: (hers / "jobs/order").write_text("planted"),
        lambda: (hers / "jobs/planted").touch(),
        lambda: hers.rename(shared / "users/away"),
        lambda: (hers / "jobs").rename(shared / "users/away"),
    ]
    assert [child(MALLORY, act).partition(":")[0] for act in acts] == ["PermissionError"] * 4
    assert child(MALLORY, lambda: own.folder(shared, "jobs")) == ""  # and has one, too


@ROOT_ONLY
def test_a_folder_that_another_user_made_under_ones_name_is_refused(shared: Path) -> None:
    assert child(MALLORY, lambda: own.folder(shared)) == ""
    assert child(MALLORY, lambda: (shared / "users" / str(ALICE)).mkdir()) == ""
    said = child(ALICE, lambda: own.folder(shared, "jobs"))
    assert said.startswith(f"NotOwn: {shared / 'users' / str(ALICE)} belongs to user {MALLORY}, not to user {ALICE}")


@ROOT_ONLY
def test_a_folder_of_all_folders_that_was_replaced_holds_nothing_of_ones_own(shared: Path) -> None:
    assert child(ALICE, lambda: own.folder(shared, "jobs")) == ""

    def replace() -> None:
        (shared / "users").rename(shared / "away")
        (shared / "users").mkdir()
        (shared / "users").chmod(0o755)
        (shared / "users" / str(ALICE)).symlink_to(shared / "away" / str(ALICE))

    assert child(MALLORY, replace) == ""  # the root of this store is not sticky
    assert child(ALICE, lambda: own.folder(shared, "jobs")).startswith("NotOwn: ")


def test_the_root_of_a_store_that_is_ones_own_is_made_sticky(tmp_path: Path) -> None:
    place = store(tmp_path, 0o2775)
    own.folder(place)
    assert mode(place) == 0o3775


def test_a_store_that_a_group_is_given_later(tmp_path: Path) -> None:
    place = store(tmp_path, 0o700)
    made = own.folder(place, "jobs")
    place.chmod(0o2775)
    assert own.loose(place) == (
        f"others may move what is in {place}, which belongs to {own.login(os.getuid())}; "
        f"{own.login(os.getuid())} runs: chmod +t {place}"
    )
    assert own.folder(place, "jobs") == made and own.loose(place) is None
    assert [mode(each) & 0o1777 for each in (place / "users", made.parent, made)] == [0o1775, 0o755, 0o755]


@ROOT_ONLY
def test_a_folder_of_all_folders_that_another_member_has_made_is_told(shared: Path) -> None:
    shared.chmod(0o3775)
    assert child(MALLORY, lambda: own.folder(shared)) == ""
    assert child(MALLORY, lambda: own.loose(shared) and 1 / 0) == ""
    told = f"user {MALLORY} may move what is in {shared / 'users'}, which user {MALLORY} has made; "
    assert own.loose(shared) == f"{told}root runs: chown root {shared / 'users'}"


@ROOT_ONLY
def test_a_folder_of_all_folders_that_is_closed_is_one_message(shared: Path) -> None:
    own.folder(shared)
    (shared / "users").chmod(0o755)
    said = child(ALICE, lambda: own.folder(shared, "jobs"))
    assert said == (
        f"NotOwn: {shared / 'users' / str(ALICE)} cannot be made: root has to let the group write in {shared / 'users'}"
    )


@ROOT_ONLY
def test_what_was_found_out_is_remembered_where_the_memory_of_the_store_is_anothers(shared: Path) -> None:
    def remember(key: str) -> None:
        memory = Memory(shared / ".sources.json")
        memory.put(key, 1)
        memory.keep()

    own.folder(shared)  # which makes the root sticky
    assert child(ALICE, lambda: remember("a")) == ""
    assert child(MALLORY, lambda: remember("b")) == ""
    assert child(MALLORY, lambda: Memory(shared / ".sources.json").get("b") or 1 / 0) == ""
    assert (shared / ".sources.json").stat().st_uid == ALICE


def test_what_is_made_in_it_is_nobody_elses_to_write_where_a_folder_above_says_otherwise(tmp_path: Path) -> None:
    """A default list of access (`setfacl --default -m g:lab:rwx`) stands in place of the umask."""
    entries = ((0x01, 7, 2**32 - 1), (0x04, 7, 2**32 - 1), (0x08, 7, 64000), (0x10, 7, 2**32 - 1), (0x20, 5, 2**32 - 1))
    listed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)
    try:
        os.setxattr(tmp_path, "system.posix_acl_default", listed)
    except OSError:
        pytest.skip("this file system has no lists of access")
    folder = own.folder(tmp_path, "jobs", "token")
    with own.alone():
        (folder / "script.sh").write_text("")
        (folder / "below").mkdir()
        (folder / "below" / "file").write_text("")
    assert os.getxattr(folder, "system.posix_acl_default")  # who may read it, still may
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert not {name for name, mode in modes.items() if mode & 0o022}, modes
