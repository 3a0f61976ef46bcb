"""Chains: what is shared, what is refused."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.refusal import ConfigError
from tests.conftest import study

pytestmark = pytest.mark.usefixtures("toys")


def errors(store: Path, variants: dict[str, Any], **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        study(store, variants, **more)
    return caught.value.messages


def test_variants_share_every_common_node(tmp_path: Path) -> None:
    _, found, _ = study(tmp_path)
    names = [f"{node.stage}/{node.label}" for node in found.nodes.values()]
    assert names == ["toy_base/base", "toy_train/Short", "toy_train/Long", "toy_probe/Long", "toy_probe/LongAgain"]


def test_every_naming_of_a_node_is_a_reference(tmp_path: Path) -> None:
    # toy_base once; LongAgain names toy_train again, which Long has named already
    _, found, _ = study(tmp_path)
    assert (found.references, len(found.nodes)) == (6, 5)


def test_a_longer_training_waits_for_the_longest_shorter_one_of_its_recipe(tmp_path: Path) -> None:
    chain = [{"toy_train": {"epochs": epochs}} for epochs in (1, 3, 8)]
    _, found, _ = study(tmp_path, {f"V{i}": [step] for i, step in enumerate(chain)})
    base, one, three, eight = found.nodes.values()
    assert found.waits_for(one) == [base]
    assert found.waits_for(eight) == [base, three]


def test_another_recipe_is_no_predecessor(tmp_path: Path) -> None:
    variants = {"A": [{"toy_train": {"epochs": 2, "rate": 3.0}}], "B": [{"toy_train": {"epochs": 4}}]}
    _, found, _ = study(tmp_path, variants)
    base, _, long = found.nodes.values()
    assert found.waits_for(long) == [base]


def test_how_it_is_cut_into_jobs_is_not_identity(tmp_path: Path) -> None:
    _, alone, _ = study(tmp_path, {"Long": [{"toy_train": {"epochs": 4}}]})
    _, after, _ = study(tmp_path)
    assert alone.nodes.keys() < after.nodes.keys()


def test_an_upstream_value_changes_what_is_below_and_nothing_else(tmp_path: Path) -> None:
    _, before, _ = study(tmp_path)
    _, now, _ = study(tmp_path, rate=2.5)
    assert set(before.nodes) & set(now.nodes) == {next(iter(before.nodes))}


def test_all_errors_come_at_once_each_with_its_key(tmp_path: Path) -> None:
    found = errors(
        tmp_path,
        {"A": [{"toy_train": {"epochs": 0}}, "toy_probe"], "B": [{"toy_train": {"epochz": 1, "rate": "x"}}]},
        seconds=-1.0,
    )
    assert "variants.A[0].toy_train.epochs=0: input should be greater than or equal to 1" in found
    assert "toy_train.seconds=-1.0: input should be greater than or equal to 0" in found
    assert any(m.startswith("variants.B[0].toy_train.epochz: no such key; did you mean 'epochs'?") for m in found)
    assert any(m.startswith("variants.B[0].toy_train.rate='x': ") for m in found)
    assert len(found) == len(set(found)) == 6, found


def test_unknown_stages_and_variants_name_what_is_allowed(tmp_path: Path) -> None:
    (message,) = errors(tmp_path, {"A": ["toy_trian"]})
    assert "variants.A[0]='toy_trian': no such stage; did you mean 'toy_train'?" in message


def test_a_stage_says_what_its_types_cannot(tmp_path: Path) -> None:
    assert errors(tmp_path, {"A": [{"toy_train": {"epochs": 1}}]}, rate=13.0) == ["toy_train.rate=13: brings bad luck"]


def test_an_override_that_every_variant_pins_is_an_error(tmp_path: Path) -> None:
    variants = {"A": [{"toy_train": {"epochs": 1}}], "B": [{"toy_train": {"epochs": 2}}]}
    (message,) = errors(tmp_path, variants, overrides={"toy_train": {"epochs": "9"}})
    assert message == "toy_train.epochs=9: has no effect; every variant or benchmark pins it (1, 2)"


def test_an_override_of_a_stage_that_nobody_has_is_an_error(tmp_path: Path) -> None:
    variants = {"A": [{"toy_train": {"epochs": 1}}]}
    (message,) = errors(tmp_path, variants, overrides={"toy_probe": {"digit": "9"}})
    assert message == "toy_probe.digit=9: has no effect; nothing in this study has a toy_probe stage"


def test_a_missing_input_is_named_with_its_remedy_once(tmp_path: Path) -> None:
    (message,) = errors(tmp_path, {"A": ["checkpoint", {"toy_train": {"epochs": 1}}, "toy_probe"]})[:1]
    assert message.startswith("variants.A[0]=checkpoint: checkpoint has no value")


def test_building_a_graph_leaves_the_store_alone(tmp_path: Path) -> None:
    study(tmp_path / "store")
    assert not (tmp_path / "store").exists()
