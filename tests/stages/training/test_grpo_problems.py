"""Which problems a GRPO run trains on, and in which order."""

import json
from pathlib import Path

import pytest

from stages.contract import Input, StageError
from stages.training.grpo_problems import arranged, load, order, refill, rollout_rows
from tests import tiny_models
from tests.stages.test_grpo import config


def source(folder: Path, prompts: list[str]) -> Input:
    file = folder / "problems.jsonl"
    file.write_text("".join(json.dumps({"prompt": p, "answer": str(i)}) + "\n" for i, p in enumerate(prompts)))
    return Input(fingerprint="p", path=file, reading={"fields": {"prompt": "{{ prompt }}", "answer": "{{ answer }}"}})


def test_the_last_rows_are_held_out_and_long_prompts_left_out(tmp_path: Path) -> None:
    prompts = [f"Compute {i}." for i in range(10)]
    prompts[1] = prompts[9] = "word " * 100
    found = load(source(tmp_path, prompts), tiny_models.tokenizer(), config(validation_problems=3))
    assert [row["answer"] for row in found.train] == ["0", "2", "3", "4", "5", "6"]
    assert [row["answer"] for row in found.validation] == ["7", "8"]
    assert found.counts == {"problems": 6, "held_out": 2, "too_long": 2}


def test_too_few_problems_for_a_rollout_are_refused(tmp_path: Path) -> None:
    rows = source(tmp_path, ["Compute 1."] * 6)
    with pytest.raises(StageError, match=r"prompts: 4 per rollout, but of 6 rows 2 are left .* \(4 held out, 0 longer"):
        load(rows, tiny_models.tokenizer(), config())
    with pytest.raises(StageError, match="0 are left"):
        load(rows, tiny_models.tokenizer(), config(validation_problems=8))


def test_every_pass_is_a_permutation_cut_to_whole_rollouts() -> None:
    chosen = order(rows=10, rollouts=6, prompts=4, seed=0)
    assert len(chosen) == 24
    for start in (0, 8, 16):  # a pass over 10 rows is two rollouts of 4
        assert len(set(chosen[start : start + 8])) == 8
    assert chosen[:8] != chosen[8:16]
    assert order(10, 6, 4, seed=1) != chosen
    assert order(10, 3, 4, seed=0) == chosen[:12]


def test_one_epoch_of_the_data_set_is_the_whole_run(tmp_path: Path) -> None:
    found = load(source(tmp_path, [f"Compute {i}." for i in range(10)]), tiny_models.tokenizer(), config())
    assert len(rollout_rows(found.train, config(), world=1)) == 4 * 4


@pytest.mark.parametrize("world", [1, 2, 4])
def test_mini_batches_are_the_same_for_any_number_of_ranks(world: int) -> None:
    dealt = arranged(range(12), mini_batch=4, world=world)
    parts = [dealt[rank * 12 // world : (rank + 1) * 12 // world] for rank in range(world)]
    share = 4 // world
    for step in range(3):
        mini_batch = [row for part in parts for row in part[step * share : (step + 1) * share]]
        assert mini_batch == list(range(4 * step, 4 * step + 4))


def test_two_ranks_of_a_rollout() -> None:
    assert arranged(range(8), mini_batch=4, world=2) == [0, 1, 4, 5, 2, 3, 6, 7]


def test_a_refill_is_all_problems_but_the_rollouts_own() -> None:
    chosen = config(rollouts=3)
    for rollout in range(3):
        own = order(rows=10, rollouts=3, prompts=4, seed=0)[4 * rollout : 4 * rollout + 4]
        assert sorted([*own, *refill(10, chosen, rollout)]) == list(range(10))
    assert refill(10, chosen, 0) == refill(10, config(rollouts=9), 0)
    assert refill(30, chosen, 1) != refill(30, config(rollouts=3, seed=1), 1)
