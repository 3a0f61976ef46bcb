"""Why: the field that differs, wherever above the node it is."""

import shutil
from pathlib import Path

import pytest

from orchestrator import why
from tests.conftest import carry_out, study

pytestmark = pytest.mark.usefixtures("toys")


def test_the_field_that_changed_upstream_is_named(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store")
    carry_out(found, store)
    _, changed, _ = study(tmp_path / "store", rate=2.5)
    (answer,) = why.explain("toy_probe/LongAgain", changed, store)
    assert (answer.state, answer.nearest) == ("run", "LongAgain")
    assert answer.differs == {"toy_train.rate": (2.0, 2.5)}


def test_a_long_chain_is_explained_like_a_short_one(tmp_path: Path) -> None:
    steps = [{"toy_train": {"epochs": 1, "seconds": 0.001 * step}} for step in range(1500)]  # beyond any recursion
    _, found, store = study(tmp_path / "store", {"Chain": [*steps, {"toy_probe": {"digit": 0}}]})
    (answer,) = why.explain("toy_probe", found, store)
    assert (answer.state, answer.nearest) == ("run", None)
    _, short, _ = study(tmp_path / "store", {"Short": [{"toy_train": {"epochs": 1}}, {"toy_probe": {"digit": 0}}]})
    carry_out(short, store)
    store.refresh()
    (answer,) = why.explain("toy_probe", found, store)
    assert (answer.nearest, answer.differs) == ("Short", {"toy_train.seconds": (0.0, 0.001 * 1499)})


def test_a_sibling_whose_inputs_are_gone_is_compared_by_what_is_left(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store")
    carry_out(found, store)
    shutil.rmtree(store.root / "toy_train")
    store.refresh()
    _, changed, _ = study(tmp_path / "store", rate=2.5)
    (answer,) = why.explain("toy_probe/LongAgain", changed, store)
    assert answer.nearest is not None
    assert set(answer.differs) >= {"checkpoint", "toy_train.rate"}


def test_a_node_that_is_done_needs_no_sibling(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store")
    carry_out(found, store)
    (answer,) = why.explain("Short", found, store)
    assert (answer.state, answer.nearest, answer.differs) == ("done", None, {})


def test_nodes_are_named_by_label_stage_or_fingerprint(tmp_path: Path) -> None:
    _, found, store = study(tmp_path / "store")
    assert len(why.explain("toy_probe", found, store)) == 2
    key = next(iter(found.nodes))
    assert [answer.fingerprint for answer in why.explain(key[:8], found, store)] == [key]
    assert why.explain("nothing", found, store) == []
