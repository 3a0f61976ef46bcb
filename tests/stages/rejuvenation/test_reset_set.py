"""Which neurons are reset, chosen or drawn: worked examples, and what a control has to have in common."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from stages.contract import StageError
from stages.rejuvenation import reset_set
from stages.rejuvenation.architecture import Module
from stages.rejuvenation.attribution_files import ScoreWriter
from stages.rejuvenation.ranking import Ranking, Scope
from stages.rejuvenation.reset_set import ResetSet

Q, DOWN = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.down_proj"
MODULES = [Module(Q, 0, "q_proj", 3), Module(DOWN, 0, "down_proj", 2)]

#: Of two targets: the three neurons of q_proj, then the two of down_proj.
SCORES = [[5.0, 1.0, -1.0, 4.0, 2.0], [0.5, 0.4, 3.0, -9.0, 0.0]]


def attribution(folder: Path, scope: Scope = "model", scores: list[list[float]] = SCORES) -> Path:
    """An attribution of `MODULES` with these scores."""
    folder.mkdir()
    with ScoreWriter(folder, Ranking(MODULES, scope, "positive"), keep=1.0) as writer:
        writer.write(torch.tensor(scores))
    kinds = [module.kind for module in MODULES]
    ranked = {"modules": kinds, "ranking": scope, "sign": "positive", "neurons": 5, "keep": 1.0}
    (folder / "summary.json").write_text(json.dumps({**ranked, "tie_band": 0.25}))
    return folder


def chosen(folder: Path, modules: list[Module] = MODULES, rho: float = 0.4) -> dict[str, list[int]]:
    masks = reset_set.union(folder, modules, rho)[0].masks
    return {name: mask.nonzero()[:, 0].tolist() for name, mask in masks.items()}


def test_two_of_five_neurons_of_each_target_over_the_whole_model(tmp_path: Path) -> None:
    """The first target selects q 0 and down 0 (5 and 4), the second q 2 and q 0 (3 and 0.5)."""
    assert chosen(attribution(tmp_path / "a")) == {Q: [0, 2], DOWN: [0]}


def test_two_of_three_and_one_of_two_in_each_module(tmp_path: Path) -> None:
    """The first target selects q 0, q 1 and down 0, the second q 2 and q 0, and none of down: none is positive."""
    assert chosen(attribution(tmp_path / "a", "module")) == {Q: [0, 1, 2], DOWN: [0]}


def test_rho_1_selects_every_positive_score_and_nothing_else(tmp_path: Path) -> None:
    assert chosen(attribution(tmp_path / "a"), rho=1.0) == {Q: [0, 1, 2], DOWN: [0, 1]}
    none = [[-1.0, -2.0, 0.0, 7.0, -0.5]]
    assert chosen(attribution(tmp_path / "b", scores=none), rho=1.0) == {Q: [], DOWN: [0]}


def test_near_ties_are_counted_for_each_target(tmp_path: Path) -> None:
    """The band is a quarter of the largest, 1.25: 5 is within it of the cut, which is 4, and 2 is not."""
    assert reset_set.union(attribution(tmp_path / "a", scores=[[5.0, 1.0, -1.0, 4.0, 2.0]]), MODULES, 0.4)[1] == [1]


def test_an_attribution_of_some_kinds_resets_no_other(tmp_path: Path) -> None:
    other = Module("model.layers.0.mlp.up_proj", 0, "up_proj", 4)
    found = chosen(attribution(tmp_path / "a"), [MODULES[0], other, MODULES[1]])
    assert found == {Q: [0, 2], other.name: [], DOWN: [0]}


@pytest.mark.parametrize("sizes", [(2, 2), (3, None)])
def test_an_attribution_of_another_model_is_refused(tmp_path: Path, sizes: tuple[int, int | None]) -> None:
    there = zip((Q, DOWN), ("q_proj", "down_proj"), sizes, strict=True)
    modules = [Module(name, 0, kind, size) for name, kind, size in there if size is not None]
    with pytest.raises(StageError, match=r"a: its model\.layers\.0\..*_proj does not exist in the checkpoint, or is l"):
        chosen(attribution(tmp_path / "a"), modules, 1.0)


def some(*counts: int, sizes: tuple[int, ...] = (50, 40, 30)) -> ResetSet:
    """The first `counts` neurons of modules of these sizes."""
    modules = [Module(f"m{n}", n, "q_proj", size) for n, size in enumerate(sizes)]
    masks = {m.name: torch.arange(m.neurons) < count for m, count in zip(modules, counts, strict=True)}
    return ResetSet(modules, masks)


def test_a_control_has_as_many_neurons_of_each_module_and_other_ones() -> None:
    like = some(10, 0, 30)
    drawn = reset_set.drawn_like(like, seed=3)
    assert drawn.modules == like.modules
    assert [int(drawn.masks[f"m{n}"].sum()) for n in range(3)] == [10, 0, 30]
    assert not torch.equal(drawn.masks["m0"], like.masks["m0"])


def test_a_control_depends_on_seed_and_module_name_alone() -> None:
    drawn = reset_set.drawn_like(some(10, 5, 3), seed=3).masks
    assert torch.equal(reset_set.drawn_like(some(10, 0, 0), seed=3).masks["m0"], drawn["m0"])
    other = some(0, 0, 0)
    other.masks["m0"][40:] = True  # other neurons, as many
    assert torch.equal(reset_set.drawn_like(other, seed=3).masks["m0"], drawn["m0"])
    more = reset_set.drawn_like(some(20, 5, 3), seed=3).masks["m0"]
    assert bool((more | ~drawn["m0"]).all())  # a larger rho keeps what a smaller one drew
    assert not torch.equal(reset_set.drawn_like(some(10, 5, 3), seed=4).masks["m0"], drawn["m0"])
    same_size = reset_set.drawn_like(some(10, 10, 0, sizes=(50, 50, 30)), seed=3).masks
    assert not torch.equal(same_size["m0"], same_size["m1"])


def test_a_control_draws_all_neurons_alike() -> None:
    """2 of 10 in 2000 draws: 400 of each, with a standard deviation of 18."""
    like = some(2, sizes=(10,))
    counts: Counter[int] = Counter()
    for seed in range(2000):
        counts.update(reset_set.drawn_like(like, seed).masks["m0"].nonzero()[:, 0].tolist())
    assert sum(counts.values()) == 4000
    assert all(abs(counts[neuron] - 400) < 5 * 18 for neuron in range(10))
