"""Two users in a store that they share: each goes on from what the other left, and can change nothing of it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import stages
from launch import claim as claims
from launch import lock, sharing, takeover, worker
from launch.claim import Claim
from launch.job import Allocation
from orchestrator import cancel, gc, plan, runs
from orchestrator.batch import prepare
from orchestrator.command import Command, Study
from orchestrator.graph import Node
from stages import artifact, part
from stages.contract import Interrupted
from stages.own import NotOwn
from stages.saved import Saved
from stages.store import LOCK, Store
from tests import users
from tests.conftest import TOYS, carry_out, study
from tests.users import ALICE, BOB, LAB, ROOT_ONLY, act

pytestmark = [pytest.mark.usefixtures("toys"), ROOT_ONLY]

LONG: dict[str, list[Any]] = {"Long": [{"toy_train": {"epochs": 4}}]}


@pytest.fixture(scope="module", autouse=True)
def loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a study imports is loaded before any user acts, who may not read where Python lies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages, "__path__", [*stages.__path__, str(TOYS / "stages")])
        _, graph, store = study(tmp_path_factory.mktemp("loaded") / "store", LONG)
        assert not carry_out(graph, store).failed


@pytest.fixture(params=[0o3775, 0o2775], ids=oct)
def store(request: pytest.FixtureRequest) -> Iterator[Path]:
    yield from users.lab(request.param)


@pytest.fixture
def sticky() -> Iterator[Path]:
    yield from users.lab()


def made(store: Path) -> Study:
    sharing.join(store)
    return Study(*study(store, LONG))


def train(found: Study) -> Node:
    return next(node for node in found.graph.nodes.values() if node.stage == "toy_train")


def folder_of(store: Path) -> Path:
    """The folder of the training, while it is unfinished."""
    node = train(Study(*study(store, LONG)))
    return Store(store).job(node.stage, node.fingerprint)


def apart(folder: Path) -> Path:
    """Where bob's part of a node lies whose folder alice has made."""
    return folder.parents[1] / f".user-{BOB}" / folder.parent.name / folder.name


def run(store: Path) -> list[str]:
    """Carry the study out; the reasons of what failed."""
    found = made(store)
    outcome = carry_out(found.graph, found.store)
    return [message for _, messages, _ in outcome.failed.values() for message in messages]


def epochs(store: Path, count: int) -> None:
    """Train so many epochs more, until the time is up, as a job of Slurm does that is preempted."""
    found = made(store)
    node = train(found)
    carry_out(type(found.graph)(**{**vars(found.graph), "nodes": first(found)}), found.store)
    folder = prepare(node, found.graph, found.store, Allocation())
    asked = iter([False] * (count - 1))
    with pytest.raises(Interrupted):
        worker.run(folder, {}, worker.Post(stopping=lambda: next(asked, True)))


def first(found: Study) -> dict[str, Node]:
    return {key: node for key, node in found.graph.nodes.items() if node.stage == "toy_base"}


def snapshot(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything below a folder, down to its bytes."""
    return {
        str(path.relative_to(folder)): (seen.st_mode, seen.st_uid, seen.st_mtime_ns, content(path))
        for path in sorted(folder.rglob("*"))
        for seen in [path.lstat()]
        if not (stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_ISVTX)
    }


def content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() and not path.is_symlink() else b""


def record(store: Path) -> dict[str, Any]:
    node = train(Study(*study(store, LONG)))
    found = Store(store).record(node.stage, node.fingerprint)
    assert found is not None
    return found


def test_a_second_user_goes_on_from_the_work_of_the_first_and_changes_none_of_it(store: Path) -> None:
    act(ALICE, lambda: epochs(store, 2))
    folder = folder_of(store)
    assert Saved(part.of(folder, ALICE)).step == 2
    before = snapshot(folder)
    assert act(BOB, lambda: run(store)) == []
    after = snapshot(folder)
    assert {name: after[name] for name in before} == before
    found = record(store)
    assert (found["attempts"], found["summary"]["value"]) == (2, 1.5 * 2**4)
    (final,) = store.glob("toy_train/Long-*")
    assert final.stat().st_uid == BOB
    assert [entry.state for entry in act(ALICE, lambda: plan.make(made(store).graph, Store(store)))] == ["done"] * 2


def test_the_one_of_whom_a_node_was_taken_over_takes_it_back_with_what_was_made_meanwhile(store: Path) -> None:
    act(ALICE, lambda: epochs(store, 1))
    act(BOB, lambda: epochs(store, 2))
    folder = folder_of(store)
    assert [Saved(part.of(folder, uid)).step for uid in (ALICE, BOB)] == [1, 3]
    assert act(ALICE, lambda: run(store)) == []
    assert record(store)["attempts"] == 3 and record(store)["summary"]["value"] == 1.5 * 2**4


def test_a_user_goes_on_from_their_own_work_without_a_copy(sticky: Path, capfd: pytest.CaptureFixture[str]) -> None:
    act(ALICE, lambda: epochs(sticky, 2))
    assert act(ALICE, lambda: run(sticky)) == []
    assert "goes on from the work of" not in capfd.readouterr().out
    assert record(sticky)["attempts"] == 2


def test_a_copy_that_fails_is_made_again_and_what_is_more_counts(sticky: Path) -> None:
    """The disk is full once: neither what the one has saved is lost, nor what the other has."""
    act(ALICE, lambda: epochs(sticky, 1))
    act(BOB, lambda: epochs(sticky, 2))

    def full() -> list[str]:
        shutil.disk_usage = lambda path: shutil._ntuple_diskusage(0, 0, 0)  # type: ignore[assignment,attr-defined]
        return run(sticky)

    assert "no space left" in act(ALICE, full)[0]
    folder = folder_of(sticky)
    assert [Saved(part.of(folder, uid)).step for uid in (ALICE, BOB)] == [1, 3]
    assert act(ALICE, lambda: run(sticky)) == []
    assert record(sticky)["summary"]["value"] == 1.5 * 2**4


def test_what_is_lost_of_the_work_of_another_is_named_and_need_not_be_taken_again(sticky: Path) -> None:
    def spoil() -> None:
        epochs(sticky, 2)
        (part.mine(folder_of(sticky)) / takeover.WORK / "epoch.txt").unlink()

    act(ALICE, spoil)
    mine = apart(folder_of(sticky))
    (message,) = act(BOB, lambda: run(sticky))
    lost = "a checkpoint of step 2 was recorded, but none is there now"
    assert message == f"{lost}; remove {mine / 'work'} and {mine / 'saved.json'} to start from the beginning"

    def again() -> list[str]:
        shutil.rmtree(mine / "work")
        (mine / "saved.json").unlink()
        return run(sticky)

    assert act(BOB, again) == []
    assert record(sticky)["summary"]["value"] == 1.5 * 2**4


def test_nobody_can_change_what_another_has_unfinished_or_published() -> None:
    for store in users.lab(stages=["toy_base", "toy_train"]):
        _nobody_can_change(store)


def _nobody_can_change(sticky: Path) -> None:
    act(ALICE, lambda: epochs(sticky, 2))
    assert [path for path in sticky.rglob("epoch.txt")] and list(sticky.glob("toy_base/base-*/record.json"))
    assert act(BOB, lambda: users.changes(sticky)) == []
    assert act(BOB, lambda: run(sticky)) == []
    assert act(ALICE, lambda: users.changes(sticky)) == []


def test_who_made_a_nodes_folder_cannot_put_a_link_in_place_of_the_part_of_another(sticky: Path) -> None:
    act(ALICE, lambda: epochs(sticky, 2))
    act(BOB, lambda: epochs(sticky, 1))
    mine = apart(folder_of(sticky))
    assert part.of(folder_of(sticky), BOB) == mine and (mine / part.ATTEMPTS).is_file()
    moved = act(ALICE, lambda: users.changes(sticky))
    assert not [path for path in moved if path.is_relative_to(mine) or mine.is_relative_to(path)]
    assert act(BOB, lambda: run(sticky)) == []
    assert not mine.exists()


def test_a_part_whose_node_is_gone_is_garbage(sticky: Path) -> None:
    act(ALICE, lambda: epochs(sticky, 2))
    act(BOB, lambda: epochs(sticky, 1))
    folder = folder_of(sticky)
    assert part.left(sticky) == []
    shutil.rmtree(folder)
    assert part.left(sticky) == act(BOB, lambda: part.left(sticky)) == [apart(folder)]
    assert act(ALICE, lambda: part.left(sticky)) == []

    def collect() -> list[Path]:
        found = made(sticky)
        runs.record("toy", [], found.graph, found.store)
        return [each.path for each in gc.collect(found.store)]

    assert apart(folder) in act(BOB, collect) and apart(folder) not in act(ALICE, collect)


def test_who_lets_nobody_write_in_a_nodes_folder_is_named(sticky: Path) -> None:
    folder = folder_of(sticky)

    def close() -> None:
        sharing.join(sticky)
        sharing.folder(sticky, folder.parent.name)
        folder.mkdir(0o755)

    act(ALICE, close)
    (message,) = act(BOB, lambda: run(sticky))
    assert f"{folder} belongs to {ALICE}" in message


def test_what_is_copied_is_regular_files(sticky: Path) -> None:
    act(ALICE, lambda: epochs(sticky, 2))
    folder, home = folder_of(sticky), sticky.parent / str(BOB)

    def plant() -> None:
        work = part.mine(folder) / takeover.WORK
        os.umask(0o022)
        (work / "link").symlink_to(home / "precious")
        (work / "folder").symlink_to(home)
        os.mkfifo(work / "pipe")
        (work / "closed").touch(mode=0)
        (work / "below").mkdir()
        (work / "below" / "state").write_text("kept")

    act(ALICE, plant)
    act(BOB, lambda: epochs(sticky, 1))
    work = part.of(folder, BOB) / takeover.WORK
    assert sorted(path.name for path in work.rglob("*")) == ["below", "epoch.txt", "state"]


def link(path: Path, home: Path) -> None:
    path.symlink_to(home / "precious")


def link_to_a_folder(path: Path, home: Path) -> None:
    path.symlink_to(home)


def pipe(path: Path, home: Path) -> None:
    os.mkfifo(path)


def file(path: Path, home: Path) -> None:
    path.write_text("planted")


def a_folder(path: Path, home: Path) -> None:
    path.mkdir()


PLACES: dict[str, Callable[[Path], Path]] = {
    "a part": lambda folder: apart(folder).parents[1],
    "the node's folder": lambda folder: folder,
    "the stage's folder": lambda folder: folder.parent,
}


@pytest.mark.parametrize(
    ("place", "what"),
    [("a part", a_folder), *((place, what) for place in PLACES for what in (link, link_to_a_folder, pipe, file))],
    ids=lambda each: each if isinstance(each, str) else each.__name__,
)
def test_what_is_planted_is_named_and_not_followed(
    sticky: Path, place: str, what: Callable[[Path, Path], None]
) -> None:
    folder, home = folder_of(sticky), sticky.parent / str(BOB)
    at = PLACES[place](folder)

    def plant() -> None:
        sharing.join(sticky)
        made = folder if place == "a part" else at.parent
        sharing.folder(sticky, *made.relative_to(sticky).parts)
        what(at, home)

    act(ALICE, plant)
    before = snapshot(home)

    (message, *more) = act(BOB, lambda: run(sticky))
    assert str(at) in message and str(ALICE) in message and more == []
    assert snapshot(home) == before and [path.name for path in home.iterdir()] == ["precious"]


@pytest.mark.parametrize("what", [link, pipe, file], ids=lambda each: each.__name__)
def test_a_log_that_is_planted_is_not_written_through(sticky: Path, what: Callable[[Path, Path], None]) -> None:
    home = sticky.parent / str(BOB)

    def plant() -> Path:
        sharing.join(sticky)
        log = sharing.folder(sticky, "logs", "toy_base") / "base-0-1.txt"
        what(log, home)
        return log

    log = act(ALICE, plant)
    with pytest.raises(NotOwn, match=f"{log}.*{ALICE}"):
        act(BOB, lambda: sharing.log(log).close())
    assert (home / "precious").read_text() == "precious"


@pytest.mark.parametrize("what", [link, pipe, a_folder], ids=lambda each: each.__name__)
def test_what_is_no_lock_is_named_and_neither_waited_for_nor_written(
    sticky: Path, what: Callable[[Path, Path], None]
) -> None:
    """Also in one's own part: a process of one's own that was deceived may have made it."""
    folder, home = folder_of(sticky), sticky.parent / str(BOB)

    def take() -> None:
        sharing.join(sticky)
        sharing.folder(sticky, *folder.relative_to(sticky).parts)
        what(part.make(folder) / LOCK, home)
        lock.take(folder, Claim(token="", launcher="local"))

    with pytest.raises(NotOwn, match=f"user-{BOB}/lock"):
        act(BOB, take)
    assert (home / "precious").read_text() == "precious"


def test_a_claim_is_of_whoever_made_its_file(sticky: Path) -> None:
    """A claim that says it is bob's, with the number of a job of his, makes his `cancel` end nothing."""
    found = Study(*study(sticky, LONG))
    base = next(iter(found.graph.nodes.values()))

    def lie() -> Path:
        sharing.join(sticky)
        folder = prepare(base, found.graph, found.store, Allocation())
        claims.take(folder, Claim(token="a" * 12, launcher="slurm", job="77", user=f"user{BOB}"), None)
        return folder

    folder = act(ALICE, lie)
    assert act(BOB, lambda: claims.read(folder)).user == str(ALICE)  # type: ignore[union-attr]
    assert act(ALICE, lambda: claims.read(folder)).user == f"user{BOB}"  # type: ignore[union-attr]

    def cut() -> cancel.Cut:
        here = made(sticky)
        os.environ["PATH"] = str(sticky)  # no Slurm
        return cancel.look(plan.make(here.graph, here.store), here.graph.nodes.values(), here.graph, here.store)

    found_cut = act(BOB, cut)
    assert not found_cut.jobs and f"it is {ALICE}'s" in found_cut.left["toy_base/base"]


def test_a_claim_is_freed_by_another_one_and_stays_as_it_is(sticky: Path) -> None:
    found = Study(*study(sticky, LONG))
    base = next(iter(found.graph.nodes.values()))

    def claim() -> Path:
        sharing.join(sticky)
        folder = prepare(base, found.graph, found.store, Allocation())
        claims.take(folder, Claim(token="a" * 12, launcher="slurm", job="77"), None)
        os.utime(folder / "claim-1.json", (0, time.time() - 7200))
        return folder

    folder = act(ALICE, claim)
    before = snapshot(folder)

    def free() -> int:
        os.environ["PATH"] = str(sticky)
        return cancel.verb(made(sticky), Command("cancel", "toy_base", frozenset(), []))

    assert act(BOB, free) == 0
    after = snapshot(folder)
    assert {name: after[name] for name in before} == before
    counts = claims.read(folder)
    assert counts is not None and (counts.number, counts.released) == (2, True)
    assert part.owner_of(folder / "claim-2.json") == BOB


def test_claims_that_somebody_made_up_far_ahead_count_for_nothing(sticky: Path) -> None:
    folder = folder_of(sticky)

    def ahead() -> None:
        sharing.join(sticky)
        sharing.folder(sticky, *folder.relative_to(sticky).parts)
        for name in ("claim-999999999.json", "claim-7.json", "claim-0.json", f"claim-{'9' * 5000}"[:200] + ".json"):
            (folder / name).write_text("{}")

    act(ALICE, ahead)
    assert act(BOB, lambda: run(sticky)) == []
    assert record(sticky)["attempts"] == 1


def test_an_artifact_of_another_that_was_damaged_is_made_again_beside_it(sticky: Path) -> None:
    assert act(ALICE, lambda: run(sticky)) == []
    (final,) = sticky.glob("toy_train/Long-*")
    (final / "model.txt").unlink()
    before = snapshot(final)
    assert act(BOB, lambda: run(sticky)) == []
    assert snapshot(final) == before
    beside = next(path for path in sticky.glob("toy_train/*Long-*") if path != final)
    assert artifact.read(beside) is not None and beside.stat().st_uid == BOB
    assert act(ALICE, lambda: run(sticky)) == []


def test_what_two_users_have_left_of_a_published_node_each_removes_alone(
    sticky: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    act(ALICE, lambda: epochs(sticky, 2))
    folder = folder_of(sticky)
    assert act(BOB, lambda: run(sticky)) == []
    assert {path.owner_id for path in map(Owned, folder.iterdir())} == {ALICE}

    def leave() -> None:
        (folder / f"user-{BOB}").mkdir()
        (folder / f"user-{BOB}" / "kept").touch()

    act(BOB, leave)

    def collect(delete: bool = True) -> int:
        found = made(sticky)
        runs.record("toy", [], found.graph, found.store)
        flags = frozenset({"--delete"} if delete else ())
        return gc.verb(Study(*study(sticky, LONG)), Command("gc", None, flags, []))  # type: ignore[arg-type]

    assert act(ALICE, collect) == 0
    assert {path.owner_id for path in map(Owned, folder.iterdir())} == {BOB}
    assert f"has files of {BOB}, who can remove them" in " ".join(capfd.readouterr().err.split())
    act(BOB, collect)
    assert not list(folder.iterdir())
    act(ALICE, collect)
    assert not folder.exists()


class Owned:
    """A path, with the number of its owner, who need have no account."""

    def __init__(self, path: Path) -> None:
        self.owner_id = path.lstat().st_uid


@pytest.mark.parametrize("uid", [ALICE, BOB])
def test_work_that_an_earlier_version_left_goes_on(uid: int) -> None:
    """Its folder is not sticky, its files are the group's to write, and there are no parts."""
    for root in users.lab(0o2775):
        folder = folder_of(root)

        def old(folder: Path = folder, root: Path = root) -> None:
            found = made(root)
            (folder / "work").mkdir(parents=True)
            (folder / "work" / "epoch.txt").write_text("3 12.0")
            (folder / "saved.json").write_text(json.dumps({"step": 3}))
            (folder / "attempts").write_text("1")
            (folder / "lock").touch()
            Claim(token="", launcher="local")
            (folder / "claim-1.json").write_text(
                json.dumps({"token": "b" * 12, "launcher": "local", "user": "old", "host": "gone", "released": True})
            )
            for path in (*folder.rglob("*"), folder, folder.parent):
                path.chmod(0o2775 if path.is_dir() else 0o664)
            carry_out(type(found.graph)(**{**vars(found.graph), "nodes": first(found)}), found.store)

        act(ALICE, old)
        assert act(uid, lambda root=root: run(root)) == []  # type: ignore[misc]
        assert record(root)["attempts"] == 2 and record(root)["summary"]["value"] == 24.0


def test_a_node_of_another_folder_or_config_is_not_run(sticky: Path) -> None:
    folder = folder_of(sticky)

    def edited(**fields: Any) -> str:
        found = made(sticky)
        prepare(train(found), found.graph, found.store, Allocation())
        file = part.mine(folder) / "node.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
        assert worker.run(folder, {}) == 1
        message: str = json.loads((part.mine(folder) / "error.json").read_text())["message"]
        return message

    elsewhere = str(sticky.parent / str(ALICE))
    assert "is of another node" in act(ALICE, lambda: edited(store=elsewhere))
    assert "is of another node" in act(ALICE, lambda: edited(stage="toy_shell"))
    assert "not that of its fingerprint" in act(ALICE, lambda: edited(identity={"stage": "toy_train"}))


def test_the_group_is_that_of_the_store(sticky: Path) -> None:
    act(ALICE, lambda: epochs(sticky, 1))
    assert {path.lstat().st_gid for path in sticky.rglob("*")} == {LAB}
