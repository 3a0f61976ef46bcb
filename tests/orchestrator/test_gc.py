"""Garbage: what no recorded run reaches, and never what somebody is at."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from launch import claim as claims
from launch.claim import Claim
from launch.order import Order, Task
from orchestrator import gc, runs
from orchestrator.__main__ import main
from orchestrator.batch import prepare
from orchestrator.command import Command, Site
from orchestrator.graph import Graph, Node
from orchestrator.names import full
from stages import meeting_place
from stages.store import Store
from tests.conftest import carry_out, cluster, study

pytestmark = pytest.mark.usefixtures("toys")

LONG: dict[str, list[Any]] = {"Long": [{"toy_train": {"epochs": 4}}]}
SHORT: dict[str, list[Any]] = {"Short": [{"toy_train": {"epochs": 2}}]}
BOTH = {**LONG, **SHORT}


def made(store: Path, variants: dict[str, list[Any]], **train: Any) -> tuple[Graph, Store]:
    """A study that was carried out; its run is not recorded."""
    _, graph, found = study(store, variants, **train)
    carry_out(graph, found)
    return graph, found


def record(store: Path, variants: dict[str, list[Any]], **train: Any) -> None:
    _, graph, found = study(store, variants, **train)
    runs.record("toy", ["+experiment=toy"], graph, found)


def found(store: Store) -> set[tuple[str, str]]:
    """Kind and place of what may go."""
    return {(each.kind, each.path.relative_to(store.root).as_posix()) for each in gc.collect(store)}


def find(graph: Graph, name: str) -> Node:
    return next(node for node in graph.nodes.values() if full(node) == name)


def name(graph: Graph, node: str) -> str:
    return f"{node}-{find(graph, node).fingerprint[:10]}"


def old(path: Path) -> None:
    os.utime(path, (0, time.time() - 2 * gc.YOUNG))


def order(store: Store, token: str, root: Path, *folders: Path) -> Path:
    """An order beside the snapshots that it is of."""
    job = root.parent.parent / "jobs" / token
    job.mkdir(parents=True)
    task = Task(folders=[str(folder) for folder in folders], log="")
    Order(token=token, tasks=[task], root=str(root), packages={}, time=1).write(job)
    old(job / "order.json")
    return job


def test_what_an_edited_experiment_names_no_more(tmp_path: Path) -> None:
    graph, store = made(tmp_path, {"Long": [*LONG["Long"], {"toy_probe": {"digit": 0}}]})
    record(tmp_path, {"Long": [*LONG["Long"], {"toy_probe": {"digit": 1}}]})
    assert found(store) == {("artifact", name(graph, "toy_probe/Long"))}


def test_nothing_goes_before_it_is_told_to_and_then_exactly_what_was_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, store = made(tmp_path, {**LONG, "Probed": [*LONG["Long"], {"toy_probe": {"digit": 0}}]})
    record(tmp_path, LONG)
    site = Site(cluster(), store)
    assert gc.verb(site, Command("gc", None, frozenset({"--json"}), [])) == 0
    shown = json.loads(capsys.readouterr().out)
    (garbage,) = shown["garbage"]
    place = Path(garbage["path"])
    size = sum(file.stat().st_size for file in place.rglob("*"))
    assert (shown["removed"], garbage["kind"], garbage["bytes"]) == (False, "artifact", size)
    assert place.is_dir()
    assert gc.verb(site, Command("gc", None, frozenset({"--delete"}), [])) == 0
    assert not place.exists() and len(list((tmp_path / "toy_train").iterdir())) == 1
    assert found(store) == set()


def test_a_shorter_run_stays_as_long_as_a_wanted_one_may_continue_from_it(tmp_path: Path) -> None:
    graph, store = made(tmp_path, SHORT)
    record(tmp_path, LONG)
    assert found(store) == set()
    made(tmp_path, LONG)
    assert found(store) == {("artifact", name(graph, "toy_train/Short"))}


def left_behind(graph: Graph, store: Store) -> None:
    """Training state that the longer run has left with the shorter one, as something else might have needed it."""
    node = find(graph, "toy_train/Short")
    place = store.find(node.stage, node.fingerprint)
    assert place is not None and not (place / "state").exists()
    (place / "state").mkdir()
    (place / "state" / "optimizer.txt").write_text("momentum")


def test_training_state_stays_with_the_longest_run_of_a_recipe(tmp_path: Path) -> None:
    graph, store = made(tmp_path, BOTH)
    record(tmp_path, BOTH)
    assert found(store) == set()
    left_behind(graph, store)
    assert found(store) == {("state", f"{name(graph, 'toy_train/Short')}/state")}
    record(tmp_path, {**BOTH, "Middle": [{"toy_train": {"epochs": 3}}]})  # continues from the short one
    assert found(store) == set()


def test_deleted_training_state_leaves_the_artifact_whole(tmp_path: Path) -> None:
    graph, store = made(tmp_path, BOTH)
    record(tmp_path, BOTH)
    left_behind(graph, store)
    gc.verb(Site(cluster(), store), Command("gc", None, frozenset({"--delete"}), []))
    place = Store(tmp_path).find("toy_train", find(graph, "toy_train/Short").fingerprint)
    assert place is not None and sorted(os.listdir(place)) == ["model.txt", "record.json"]


def test_a_node_that_somebody_is_at_stays_with_what_it_reads(tmp_path: Path) -> None:
    graph, store = made(tmp_path, LONG)
    record(tmp_path, {"Other": [{"toy_train": {"epochs": 1, "rate": 3.0}}]})
    node = find(graph, "toy_train/Long")
    place = store.find(node.stage, node.fingerprint)
    assert place is not None
    os.rename(place, tmp_path / "away")
    folder = store.job(node.stage, node.fingerprint)
    prepare(node, graph, store, cluster().default)
    claims.take(folder, Claim(token="a" * 12, launcher="local", host="elsewhere"), None)
    assert found(store) == set()
    os.utime(folder / "claim-1.json", (0, 0))
    assert found(store) == {("unfinished", f"toy_train/{folder.name}")}  # the base is in every toy study


@pytest.mark.parametrize("place", ["users/somebody", "."], ids=["now", "of an earlier version"])
def test_jobs_and_code_go_a_day_after_they_were_needed(tmp_path: Path, place: str) -> None:
    graph, store = made(tmp_path, LONG)
    record(tmp_path, BOTH)
    snapshots = [tmp_path / place / "snapshots" / each for each in ("live", "over", "fresh")]
    for each in snapshots:
        each.mkdir(parents=True)
        old(each)
    os.utime(snapshots[2])
    short = find(study(tmp_path, BOTH)[1], "toy_train/Short")
    folder = store.job(short.stage, short.fingerprint)
    folder.mkdir()
    claims.take(folder, Claim(token="b" * 12, launcher="local", host="elsewhere"), None)
    order(store, "b" * 12, snapshots[0], folder)
    order(store, "c" * 12, snapshots[1], store.job("toy_train", find(graph, "toy_train/Long").fingerprint))
    gone = {tmp_path / place / "jobs" / ("c" * 12), snapshots[1]}
    assert {tmp_path / path for _, path in found(store)} == gone
    gc.verb(Site(cluster(), store), Command("gc", None, frozenset({"--delete"}), []))
    assert not any(each.exists() for each in gone) and snapshots[0].exists() and snapshots[2].exists()


def test_a_meeting_place_goes_a_day_after_somebody_was_at_its_node(tmp_path: Path) -> None:
    graph, store = made(tmp_path, LONG)
    record(tmp_path, BOTH)
    short = find(study(tmp_path, BOTH)[1], "toy_train/Short")
    running = store.job(short.stage, short.fingerprint)
    running.mkdir()
    claims.take(running, Claim(token="b" * 12, launcher="local", host="elsewhere"), None)
    done = store.job("toy_train", find(graph, "toy_train/Long").fingerprint)
    places = [meeting_place.of(node) for node in (running, done)]
    assert found(store) == set()
    for place in places:
        old(place)
    assert found(store) == {("meeting", places[1].relative_to(tmp_path).as_posix())}
    gc.verb(Site(cluster(), store), Command("gc", None, frozenset({"--delete"}), []))
    assert places[0].exists() and not places[1].exists()


def test_what_others_made_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, store = made(tmp_path, LONG)
    record(tmp_path, SHORT)
    assert found(store)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert found(store) == set()


def test_it_stops_when_a_run_is_started_meanwhile(tmp_path: Path) -> None:
    _, store = made(tmp_path, BOTH)
    record(tmp_path, LONG)
    garbage = list(gc.collect(store))
    assert len(garbage) == 1
    before = gc._records(store)
    runs.record("other", [], study(tmp_path, SHORT)[1], store)
    assert gc._delete(garbage, store, before).startswith("somebody has started a run meanwhile")
    assert garbage[0].path.is_dir()


def test_a_store_whose_runs_are_not_known_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, store = made(tmp_path, LONG)
    assert main(["gc", "--delete", f"store={tmp_path}"]) == 2
    assert capsys.readouterr().err.startswith("error: gc: no run is recorded in ")
    record(tmp_path, LONG)
    runs.files(store)[0].write_text("{")
    assert not found(store)
    assert main(["gc", "--delete", f"store={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert "a recorded run cannot be read, so artifacts and nodes stay" in said
    assert f"no valid record: {runs.files(store)[0]}: " in said
