import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from stages import pretrain
from stages.contract import Context, Interrupted, Resources, StageError
from stages.progress import Progress
from stages.world import pretraining

CONFIG = pretrain.Config(
    seed=0,
    steps=4,
    batch=2,
    length=32,
    learning_rate=3e-3,
    dtype="float32",
    vocabulary=300,
    layers=1,
    width=16,
    mlp=32,
    heads=2,
    kv_heads=1,
    largest=60,
    noise=0.15,
    easy=0.75,
    sft_problems=12,
    rl_problems=8,
    test_problems=5,
)


def _context(folder: Path, name: str = "output") -> Context:
    for each in (folder / "work", folder / name):
        each.mkdir(parents=True, exist_ok=True)
    return Context(
        inputs={},
        work=folder / "work",
        output=folder / name,
        resources=Resources(),
        progress=Progress(folder / "progress.json"),
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    context = _context(tmp_path_factory.mktemp("base"))
    summary = pretrain.run(CONFIG, context)
    assert summary["tokens"] == 4 * 2 * 32
    return context.output


def test_publishes_a_checkpoint_that_transformers_loads(base):
    model = AutoModelForCausalLM.from_pretrained(base / "model")
    tokenizer = AutoTokenizer.from_pretrained(base / "model")
    assert model.config.vocab_size == len(tokenizer) == 300
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert not model.config.tie_word_embeddings


def test_publishes_the_data_sets_with_their_columns(base):
    columns = {
        file.stem: set(json.loads(file.read_text().splitlines()[0])) for file in sorted((base / "data").iterdir())
    }
    asked = {"id", "prompt", "answer"}
    assert columns == {
        "demonstrations": {"id", "prompt", "completion"},
        "problems": asked,
        "id": asked,
        "chains": asked,
        "words": asked,
        "choice": asked,
    }


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(base, tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "SAVE_EVERY", 3)
    context = _context(tmp_path, "killed")

    class Killed(Exception):
        pass

    def kill(step: int, total: int, **metrics: float) -> None:
        if step == 4:
            raise Killed

    monkeypatch.setattr(context.progress, "update", kill)
    with pytest.raises(Killed):
        pretrain.run(CONFIG, context)
    steps: list[int] = []
    resumed = _context(tmp_path, "resumed")
    monkeypatch.setattr(resumed.progress, "update", lambda step, total, **metrics: steps.append(step))
    pretrain.run(CONFIG, resumed)

    assert steps == [4]
    left = load_file(base / "model" / "model.safetensors")
    right = load_file(tmp_path / "resumed" / "model" / "model.safetensors")
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_that_is_asked_to_stop_saves_and_goes_on_bit_for_bit(base, tmp_path):
    context = _context(tmp_path)
    with pytest.raises(Interrupted, match="saved at step 1 of 4"):
        pretrain.run(CONFIG, replace(context, stopping=lambda: True))
    assert context.saved.step == 1
    pretrain.run(CONFIG, context)
    left, right = (load_file(folder / "model" / "model.safetensors") for folder in (base, context.output))
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_run_whose_checkpoint_is_gone_does_not_begin_again(tmp_path):
    context = _context(tmp_path)
    context.saved.record(3)
    with pytest.raises(StageError, match="a checkpoint of step 3 was recorded, but none is there now; remove"):
        pretrain.run(CONFIG, context)


def test_the_rows_of_a_step_depend_on_the_seed_and_the_step_alone(base):
    recipe = pretraining.Recipe(seed=0, steps=9, batch=2, length=32, learning_rate=1.0, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(base / "model")
    texts = pretraining.Texts(60, 0.15)

    def rows(step: int, seed: int = 0) -> list[list[int]]:
        return pretraining.rows(replace(recipe, seed=seed), texts, tokenizer, step).tolist()

    assert rows(5) == rows(5)
    assert rows(5) != rows(6)
    assert rows(5) != rows(5, seed=1)


def test_the_learning_rate_rises_over_a_twentieth_and_falls_to_zero():
    factors = [pretraining._factor(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(1 / 5)
    assert factors[4] == factors[5] == 1.0
    assert factors[100] == 0.0


@pytest.mark.parametrize(
    ("changes", "key"),
    [({"width": 18}, "width"), ({"heads": 2, "kv_heads": 4}, "kv_heads"), ({"rl_problems": 10**6}, "largest")],
)
def test_check_names_the_key(changes, key):
    (error,) = pretrain.check(replace(CONFIG, **changes))
    assert error.startswith(f"{key}: ")


def test_a_legal_world_passes_the_check():
    assert pretrain.check(CONFIG) == []
