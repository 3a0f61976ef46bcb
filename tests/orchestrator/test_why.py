"""Why: the field that differs, wherever above the node it is."""

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
