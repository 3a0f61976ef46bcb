import json
from dataclasses import replace
from pathlib import Path

import pytest

from stages.contract import Input, StageError
from stages.data.tokens import Sequence
from stages.training import sft_data
from stages.world import tokenizer as world_tokenizer
from tests.stages.test_sft import CONFIG

RECIPE = replace(CONFIG, batch=1, max_length=64)
ROWS = [{"prompt": "Compute 1+2.", "completion": " 3."}, {"prompt": "Compute 10+20.", "completion": " 30."}]


@pytest.fixture(scope="module")
def tokenizer():
    return world_tokenizer.train(["Compute 1+2. 3."], vocabulary=300)


@pytest.fixture
def source(tmp_path: Path) -> Input:
    file = tmp_path / "demonstrations.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    fields = {"prompt": "{{ prompt }}", "completion": "{{ completion }}"}
    return Input(fingerprint="0", path=file, reading={"fields": fields})


def test_only_response_tokens_have_labels(source, tokenizer):
    row = sft_data.load(source, tokenizer, RECIPE).data[0]
    trained = [i for i in row["labels"] if i != sft_data.IGNORED]
    assert row["input_ids"][-len(trained) :] == trained
    assert tokenizer.decode(trained) == " 3." + tokenizer.eos_token
    assert len(row["labels"]) == len(row["input_ids"])


def test_samples_are_the_first_rows(source, tokenizer):
    assert len(sft_data.load(source, tokenizer, replace(RECIPE, samples=1))) == 1
    with pytest.raises(StageError, match=r"samples: 3, but .* has only 2 rows"):
        sft_data.load(source, tokenizer, replace(RECIPE, samples=3))


def test_longer_rows_are_refused_with_their_number_and_the_first(source, tokenizer):
    longest = len(sft_data.load(source, tokenizer, RECIPE).data[1]["input_ids"])
    with pytest.raises(StageError, match=rf"1 of 2 rows are longer; the first is row 2 with {longest} tokens"):
        sft_data.load(source, tokenizer, replace(RECIPE, max_length=longest - 1))


def test_longer_rows_are_cut_or_dropped_and_counted(source, tokenizer):
    whole = sft_data.load(source, tokenizer, RECIPE).data["input_ids"]
    shorter = replace(RECIPE, max_length=len(whole[1]) - 1)
    cut = sft_data.load(source, tokenizer, replace(shorter, overlong="cut"))
    assert [len(ids) for ids in cut.data["input_ids"]] == [len(whole[0]), len(whole[1]) - 1]
    dropped = sft_data.load(source, tokenizer, replace(shorter, overlong="drop"))
    assert dropped.data["input_ids"] == [whole[0]]
    assert cut.overlong == dropped.overlong == 1


@pytest.mark.parametrize(
    ("prompt", "response", "length", "kept"),
    [
        (30, 30, 80, (30, 30)),
        (30, 90, 80, (30, 50)),  # the prompt takes less than half of the room
        (90, 30, 80, (50, 30)),  # the response does
        (60, 90, 80, (32, 48)),  # both are cut in proportion
        (0, 90, 80, (0, 80)),
    ],
)
def test_a_row_is_cut_as_llama_factory_cuts_it(prompt, response, length, kept):
    given = Sequence(list(range(prompt + response)), [0] * prompt + [1] * response)
    found = sft_data.cut(given, length)
    assert (found.response_mask.count(0), found.response_mask.count(1)) == kept
    assert found.input_ids == [*range(kept[0]), *range(prompt, prompt + kept[1])]


def test_an_epoch_is_a_permutation_cut_to_whole_batches():
    order = sft_data.order(10, batch=4, seed=0, epoch=0)
    assert len(order) == len(set(order)) == 8
    assert set(order) < set(range(10))


def test_order_depends_on_seed_and_epoch_alone_and_leaves_out_other_rows_each_time():
    epochs = [sft_data.order(10, batch=4, seed=0, epoch=epoch) for epoch in range(20)]
    assert epochs == [sft_data.order(10, batch=4, seed=0, epoch=epoch) for epoch in range(20)]
    assert epochs[0] != sft_data.order(10, batch=4, seed=1, epoch=0)
    left_out = set().union(*(set(range(10)) - set(epoch) for epoch in epochs))
    assert left_out == set(range(10))


def test_the_sampler_follows_its_epoch():
    sampler = sft_data.EpochOrder(10, batch=4, seed=0)
    sampler.epoch = 3
    assert list(sampler) == sft_data.order(10, batch=4, seed=0, epoch=3)
    assert len(sampler) == 8
