"""Which variants two names mean, in one study, in a sweep, and in two experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator import config, side, sweep
from orchestrator.__main__ import main
from orchestrator.command import Command, Study
from orchestrator.refusal import ConfigError
from stages.store import Store


def study(store: Path, *overrides: str) -> tuple[Study, Command]:
    given = [*overrides, f"store={store}"]
    merged, graph = sweep.merge(sweep.read([config.compose(given)]))
    return Study(merged, graph, Store(store)), Command("compare", "A", frozenset(), given, other="B")


def pairs(store: Path, first: str, second: str, *overrides: str) -> list[tuple[str, list[str], str, list[str]]]:
    found = side.pairs(first, second, *study(store, *overrides))
    return [(one.name, one.variants, other.name, other.variants) for one, other in found]


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("ModSFT+RL", True),
        ("ModSFT@seed=1", True),
        ("Rejuvenation@alpha=0.4,rho=0.01", True),
        ("tiny_variants:DFT", True),
        ("+experiment=smoke", False),
        ("seed=1", False),
        ("~diagnoses", False),
        ("dataset@problems=tiny_problems", False),
    ],
)
def test_a_word_names_a_side_or_overrides_a_key(word: str, name: bool) -> None:
    assert side.is_name(word) == name


def test_two_variants(tmp_path: Path) -> None:
    found = pairs(tmp_path, "ModSFT", "ModSFT+RL", "+experiment=smoke")
    assert found == [("ModSFT", ["ModSFT"], "ModSFT+RL", ["ModSFT+RL"])]


def test_a_variant_of_another_experiment(tmp_path: Path) -> None:
    expected = [("tiny_math:ModSFT+RL", ["ModSFT+RL"], "tiny_variants:DFT+RL", ["DFT+RL"])]
    assert pairs(tmp_path, "ModSFT+RL", "tiny_variants:DFT+RL", "+experiment=tiny_math") == expected


def test_two_experiments_have_the_variants_of_one_name(tmp_path: Path) -> None:
    found = pairs(tmp_path, "smoke", "tiny_math", "+experiment=smoke")
    assert ("smoke:ModSFT", ["ModSFT"], "tiny_math:ModSFT", ["ModSFT"]) in found
    assert all(one.partition(":")[2] == other.partition(":")[2] for one, _, other, _ in found)


def test_an_experiment_beside_a_variant_has_that_variant(tmp_path: Path) -> None:
    expected = [("smoke:ModSFT", ["ModSFT"], "tiny_math:ModSFT", ["ModSFT"])]
    assert pairs(tmp_path, "ModSFT", "tiny_math", "+experiment=smoke") == expected


def test_the_experiment_is_that_of_a_name_if_none_is_chosen() -> None:
    assert side.overrides_of(["tiny_math:A", "smoke:B"], ["seed=1"]) == ["+experiment=tiny_math", "seed=1"]
    assert side.overrides_of(["smoke", "tiny_math"], []) == ["+experiment=smoke"]
    assert side.overrides_of(["tiny_math:A", "B"], ["+experiment=smoke"]) == ["+experiment=smoke"]
    assert side.overrides_of(["A", "B"], []) == []


def swept(store: Path, *overrides: str) -> tuple[Study, Command]:
    """A sweep of smoke over two seeds."""
    members = []
    for seed in ("0", "1"):
        composed = config.compose(["+experiment=smoke", f"seed={seed}", f"store={store}", *overrides])
        members.append(config.Composed(composed.config, composed.overrides, [], {"seed": seed}))
    merged, graph = sweep.merge(sweep.read(members))
    command = Command("compare", None, frozenset({"-m"}), ["+experiment=smoke", "seed=0,1"])
    return Study(merged, graph, Store(store)), command


def test_members_of_a_sweep_and_all_seeds_of_a_variant(tmp_path: Path) -> None:
    found, command = swept(tmp_path)
    ((one, other),) = side.pairs("ModSFT@seed=1", "ModSFT+RL@seed=1", found, command)
    assert (one.variants, other.variants) == (["ModSFT@seed=1"], ["ModSFT+RL@seed=1"])
    ((one, other),) = side.pairs("ModSFT", "ModSFT+RL", found, command)
    assert one.variants == ["ModSFT@seed=0", "ModSFT@seed=1"]
    assert other.variants == ["ModSFT+RL@seed=0", "ModSFT+RL@seed=1"]


@pytest.mark.parametrize(
    ("first", "second", "wrong"),
    [
        ("ModSFT", "ModSTF+RL", "compare ModSTF+RL: neither a variant of smoke nor an experiment; did you mean"),
        (
            "ModSFT",
            "Nothing",
            "compare Nothing: neither a variant of smoke nor an experiment; allowed: ModSFT, ModSFT+RL",
        ),
        ("ModSFT", "ModSFT", "compare ModSFT ModSFT: both are ModSFT; name two variants"),
        ("smoke", "smoke", "compare smoke smoke: both are one experiment; name one of each, as in smoke:VARIANT"),
        ("ModSFT", "tiny_math:None", "compare tiny_math:None: not a variant"),
        ("smoke", "evolm_alpha", "compare smoke evolm_alpha: smoke and evolm_alpha have no variant of the same name"),
    ],
)
def test_names_that_mean_nothing(tmp_path: Path, first: str, second: str, wrong: str) -> None:
    with pytest.raises(ConfigError) as refused:
        pairs(tmp_path, first, second, "+experiment=smoke")
    (message,) = refused.value.messages
    assert message.startswith(wrong) and message.count("ModSFT+RL") <= 2


def test_another_experiment_in_a_sweep_is_refused(tmp_path: Path) -> None:
    found, command = swept(tmp_path)
    with pytest.raises(ConfigError, match="a sweep is of one experiment"):
        side.pairs("ModSFT", "tiny_math:ModSFT", found, command)


@pytest.mark.parametrize("names", [[], ["ModSFT"], ["A", "B", "C"]])
def test_two_names_are_needed(names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *names, "+experiment=smoke"]) == 2
    assert f"error: compare{''.join(f' {name}' for name in names)}: name two variants" in capsys.readouterr().err


def test_what_makes_a_side(tmp_path: Path) -> None:
    found, command = study(tmp_path, "+experiment=smoke")
    made: Any = side.Side("ModSFT", found, ["ModSFT"], command)
    expected = f"python -m orchestrator run 'only=[ModSFT]' +experiment=smoke store={tmp_path}"
    assert side.missing_command(made, ["ModSFT"]) == expected
    assert "only" not in side.missing_command(made, ["\x1b[2J"])
