"""A store of somebody else: it is read and never written, and its artifacts are inputs of studies in other stores."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator import carry_out as carried
from orchestrator import compare, notes, place, plan, results, status, volume, why
from orchestrator.command import DONE, Command, Study
from orchestrator.graph import Node
from orchestrator.refusal import ConfigError
from stages.store import Store
from tests.conftest import carry_out, study
from tests.orchestrator.published import Published, samples

pytestmark = pytest.mark.usefixtures("toys")

#: A number of a user, whom no account needs to have.
READER = 64003
PLAIN = Command("plan", None, frozenset(), [])


@pytest.fixture
def lab() -> Iterator[Path]:
    """A folder that every user may reach."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@contextlib.contextmanager
def reader(store: Path) -> Iterator[None]:
    """Be somebody who may read a store and write nothing in it; without root, its owner, who has closed it."""
    before = snapshot(store)
    for folder, _, _ in os.walk(store):
        os.chmod(folder, 0o555)
    if os.geteuid() == 0:
        os.seteuid(READER)
    try:
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        assert snapshot(store) == before
        for folder, _, _ in os.walk(store):
            os.chmod(folder, 0o755)


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below a folder, and which folders are there."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else (0, 0)
        for path in root.rglob("*")
    }


@pytest.fixture
def theirs(lab: Path) -> Study:
    """A study whose nodes are all published, in a store of their own."""
    found = study(lab / "theirs")
    carry_out(found[1], found[2])
    return Study(*found)


def states(made: Study) -> dict[str, tuple[str, str]]:
    return {f"{e.node.stage}/{e.node.label}": (e.state, e.reason) for e in plan.make(made.graph, made.store)}


def again(made: Study) -> Study:
    """The same study as a new command sees it."""
    return Study(made.experiment, made.graph, Store(made.store.root))


def test_a_store_that_cannot_be_written_is_planned_and_explained(theirs: Study) -> None:
    with reader(theirs.store.root):
        found = again(theirs)
        assert set(states(found).values()) == {("done", "published")}
        assert status.verb(found, replace(PLAIN, verb="status")) == DONE
        assert why.explain("toy_base", found.graph, found.store)[0].state == "done"
        assert notes.of(plan.make(found.graph, found.store), found) == []


def test_run_in_it_is_done_if_everything_is_published(theirs: Study, capsys: pytest.CaptureFixture[str]) -> None:
    with reader(theirs.store.root):
        assert carried.verb(again(theirs), replace(PLAIN, verb="run")) == DONE
    assert "toy_train" in capsys.readouterr().out


def test_doctor_says_that_it_can_be_read_and_not_written(theirs: Study) -> None:
    with reader(theirs.store.root):
        (found,) = (each for each in volume.findings(theirs.store.root, remote=False) if each.what == "store")
    assert found.fatal and "cannot be written: it belongs to" in found.means
    assert "`plan`, `report` and `compare` can read it" in found.means


def test_run_in_it_says_whose_it_is_and_what_makes_the_rest(theirs: Study, lab: Path) -> None:
    more = Study(*study(theirs.store.root, {"Longer": [{"toy_train": {"epochs": 6}}]}))
    owner = "root" if os.getuid() == 0 else os.environ.get("USER", "")
    with reader(theirs.store.root):
        with pytest.raises(ConfigError) as refused:
            carried.verb(more, replace(PLAIN, verb="run"))
        (message,) = refused.value.messages
        assert f"store={lab}/theirs: cannot be written: it belongs to {owner}" in message
        assert "1 of 2 nodes are not published there (toy_train/Longer)" in message
        assert f"store=DIR 'reads=[{lab}/theirs]'" in message
        assert message in notes.of(plan.make(more.graph, more.store), more)
        with pytest.raises(ConfigError, match="cannot be written: it belongs to"):
            carried.retry_verb(more, replace(PLAIN, verb="retry"))


def test_its_report_and_pages_are_written_where_the_reader_may(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Published(lab / "store")
    for number, cell in enumerate(made.graph.scores):
        made.evaluate(*cell, samples(made.k(cell[1]), seed=number))
    home = lab / "home"
    home.mkdir(mode=0o777)
    home.chmod(0o777)
    monkeypatch.chdir(home)
    aside = replace(made.experiment, reports=str(lab / "aside"))
    results.verb(replace(made.study, experiment=aside), PLAIN)  # it loads what the reader may not
    assert (lab / "aside" / "toy" / "report.html").is_file()
    page = compare._page_file(made.study, replace(PLAIN, node="A", other="B"))
    assert page.is_relative_to(made.store.root)
    capsys.readouterr()
    with reader(made.store.root):
        found = again(made.study)
        results.verb(found, PLAIN)
        assert compare._page_file(found, replace(PLAIN, node="A", other="B")).is_relative_to(home)
    told = " ".join(capsys.readouterr().out.split())
    assert f"store={lab}/store: cannot be written" in told and f"written to {home}/reports/toy" in told
    assert (home / "reports/toy/table.csv").read_bytes() == (lab / "aside/toy/table.csv").read_bytes()
    assert (home / "reports/toy/report.html").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts as two users")
def test_what_may_not_be_read_is_named_and_the_rest_is_shown(theirs: Study) -> None:
    root = theirs.store.root
    (probe,) = root.glob("toy_probe/Long-*")
    with reader(root):
        os.seteuid(0)
        (root / "toy_base").chmod(0o700)
        probe.chmod(0o700)
        os.seteuid(READER)
        found = states(again(theirs))
        made = again(theirs)
        told = notes.of(plan.make(made.graph, made.store), made)
    assert found["toy_train/Long"] == found["toy_probe/LongAgain"] == ("done", "published")
    assert found["toy_base/base"][0] == "run"
    assert found["toy_probe/Long"][1].startswith(f"{probe} cannot be read: it belongs to root")
    assert any(f"{root}/toy_base cannot be read: it belongs to root" in note for note in told)


def longer(store: Store) -> Study:
    """A study that has more than what is published there."""
    variants = {
        "Long": [{"toy_train": {"epochs": 4}}],
        "More": [{"toy_train": {"epochs": 4}}, {"toy_probe": {"digit": 3}}],
    }
    experiment, graph, _ = study(store.root, variants)
    return Study(experiment, graph, store)


@pytest.mark.parametrize("launcher", ["inline", "local"])
def test_what_another_store_has_is_an_input_and_is_not_made_again(theirs: Study, lab: Path, launcher: str) -> None:
    before = snapshot(theirs.store.root)
    ours = longer(place.store(str(lab / "ours"), [str(theirs.store.root)]))
    there = ("done", f"published; in {theirs.store.root}")
    assert states(ours) == {
        "toy_base/base": there,
        "toy_train/Long": there,
        "toy_probe/More": ("run", "new"),
    }
    outcome = carry_out(ours.graph, ours.store, launcher)
    assert [node.stage for node in outcome.executed] == ["toy_probe"] and not outcome.failed
    (made,) = (lab / "ours").glob("toy_*/*/record.json")
    record = json.loads(made.read_text())
    given = record["inputs"]["checkpoint"]
    assert Path(given["path"]).parent == theirs.store.root / "toy_train"
    assert snapshot(theirs.store.root) == before


def test_what_another_store_has_and_this_one_is_at_is_left_to_whoever_is(theirs: Study, lab: Path) -> None:
    ours = longer(place.store(str(lab / "ours"), [str(theirs.store.root)]))
    node = ours.graph.variants["Long"]["checkpoint"]
    assert isinstance(node, Node)
    folder = ours.store.job(node.stage, node.fingerprint)
    folder.mkdir(parents=True)
    carry_out(ours.graph, ours.store)
    assert folder.is_dir()


def test_an_input_that_another_store_has_no_more_is_named_with_where_it_was(theirs: Study, lab: Path) -> None:
    ours = longer(place.store(str(lab / "ours"), [str(theirs.store.root)]))

    def remove(running: object) -> None:
        shutil.rmtree(theirs.store.root / "toy_train", ignore_errors=True)

    outcome = carry_out(ours.graph, ours.store, "local", remove)
    ((_, messages, _),) = outcome.failed.values()
    assert f"has no valid record in {lab}/ours or {lab}/theirs" in messages[0]


def test_a_file_of_another_size_in_another_store_is_no_artifact(theirs: Study, lab: Path) -> None:
    (file,) = theirs.store.root.glob("toy_train/Long-*/model.txt")
    ours = longer(place.store(str(lab / "ours"), [str(theirs.store.root)]))
    assert states(ours)["toy_train/Long"][0] == "done"
    ours.store.root.mkdir()
    ours.store.remember()
    file.write_text(file.read_text() + "0")
    again = longer(place.store(str(lab / "ours"), [str(theirs.store.root)]))
    assert states(again)["toy_train/Long"] == ("run", f"its record in {lab}/theirs is missing or damaged")


@pytest.mark.parametrize("named", ["nowhere", "file", "ours"])
def test_a_store_that_cannot_be_read_is_refused_with_its_key(lab: Path, named: str) -> None:
    (lab / "file").touch()
    (lab / "ours").mkdir()
    with pytest.raises(ConfigError, match=f"reads={lab}/{named}"):
        place.store(str(lab / "ours"), [str(lab / named)])
