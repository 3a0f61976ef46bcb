"""Generation with transformers: greedy, seeded samples, stop strings, ends."""

import itertools
import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from stages.contract import Resources
from stages.data.tokens import prompt_ids
from stages.generation.engine import Engine, Sampling, end_ids, load, longest_first, prompt_seed, until_stop
from stages.generation.transformers_engine import SeededSampling
from stages.modeling.checkpoint import load_model, load_tokenizer
from tests import tiny_models


def sampling(**chosen: object) -> Sampling:
    return Sampling(**{"n": 1, "temperature": 0.0, "top_p": 1.0, "max_new_tokens": 8, "seed": 0, **chosen})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.base(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(model: Path) -> Engine:
    resources = Resources(per_device_batch=8)
    return load(tiny_models.source(model), engine="transformers", dtype="float32", resources=resources)


@pytest.fixture(scope="module")
def prompts(model: Path) -> list[list[int]]:
    tokenizer = load_tokenizer(tiny_models.source(model))
    return [prompt_ids(tokenizer, row["prompt"]) for row in tiny_models.arithmetic(6)]


def test_greedy_is_the_argmax_of_the_model_one_token_at_a_time(
    model: Path, engine: Engine, prompts: list[list[int]]
) -> None:
    plain = load_model(tiny_models.source(model), dtype="float32")
    for prompt, [completion] in zip(prompts, engine.generate(prompts, sampling()), strict=True):
        ids = list(prompt)
        for token in completion.token_ids:
            with torch.no_grad():
                assert int(plain(torch.tensor([ids])).logits[0, -1].argmax()) == token
            ids.append(token)


def test_samples_of_a_prompt_do_not_depend_on_its_batch(engine: Engine, prompts: list[list[int]]) -> None:
    chosen = sampling(n=3, temperature=1.0)
    together = engine.generate(prompts, chosen)
    assert engine.generate(prompts[2:3], chosen) == together[2:3]
    assert len({tuple(completion.token_ids) for completion in together[2]}) == 3
    assert engine.generate(prompts[2:3], sampling(n=3, temperature=1.0, seed=1)) != together[2:3]


def test_the_noise_samples_the_softmax_of_what_top_p_leaves() -> None:
    scores = torch.tensor([[2.0, 1.0, 0.0]])
    draws = [
        int(SeededSampling([seed], sampling(temperature=0.5), torch.device("cpu"))(None, scores).argmax())  # type: ignore[arg-type]
        for seed in range(2000)
    ]
    shares = torch.bincount(torch.tensor(draws), minlength=3) / 2000
    assert torch.allclose(shares, (scores[0] / 0.5).softmax(0), atol=0.03)
    nucleus = SeededSampling(range(200), sampling(temperature=0.5, top_p=0.5), torch.device("cpu"))
    assert set(nucleus(None, scores.repeat(200, 1)).argmax(-1).tolist()) == {0}  # type: ignore[arg-type]


def test_a_completion_ends_at_its_length_its_eos_or_a_stop_string(engine: Engine, prompts: list[list[int]]) -> None:
    [[cut]] = engine.generate(prompts[:1], sampling())
    assert len(cut.token_ids) == 8 and not cut.finished
    for completion in engine.generate(prompts[:1], sampling(n=16, temperature=1.0, max_new_tokens=40))[0]:
        assert completion.finished == (0 in completion.token_ids)
        assert 0 not in completion.token_ids[:-1]
    letter = cut.text[len(cut.text) // 2]
    [[stopped]] = engine.generate(prompts[:1], sampling(stop=(letter,)))
    assert stopped.finished and stopped.text == cut.text.split(letter)[0]
    assert len(stopped.token_ids) <= len(cut.token_ids)


def test_the_models_positions_cut_a_completion(engine: Engine) -> None:
    assert engine.positions == 128
    [[completion]] = engine.generate([[5] * 125], sampling())
    assert len(completion.token_ids) <= 3


def test_every_declared_end_counts(model: Path) -> None:
    tokenizer = load_tokenizer(tiny_models.source(model))
    assert end_ids(tokenizer, None) == [0]
    assert end_ids(tokenizer, GenerationConfig(eos_token_id=[7, 0])) == [0, 7]
    assert end_ids(tokenizer, GenerationConfig(eos_token_id=9)) == [0, 9]


def test_text_ends_before_the_first_stop_string() -> None:
    assert until_stop("1 Q: 2", ["Q:"]) == ("1 ", True)
    assert until_stop("abc", ["c", "b"]) == ("a", True)
    assert until_stop("abc", []) == ("abc", False)


def test_a_prompts_seed_is_its_own() -> None:
    assert len({prompt_seed(seed, prompt) for seed in range(3) for prompt in ([1], [2], [1, 2], [12])}) == 12
    assert prompt_seed(0, [1, 2]) == prompt_seed(0, [1, 2]) < 2**31


def test_a_stream_gives_every_prompt_once_with_what_generate_gives(engine: Engine, prompts: list[list[int]]) -> None:
    chosen = sampling(n=3, temperature=1.0)
    streamed = list(engine.stream(prompts, chosen))
    assert sorted(index for index, _ in streamed) == list(range(len(prompts)))
    assert [completions for _, completions in sorted(streamed)] == engine.generate(prompts, chosen)
    assert list(engine.stream([], chosen)) == []


def test_a_stream_that_is_left_in_the_middle_is_continued_with_the_same_texts(
    engine: Engine, prompts: list[list[int]]
) -> None:
    chosen = sampling(n=5, temperature=1.0)  # with rows of one prompt in two batches
    whole = engine.generate(prompts, chosen)
    stream = engine.stream(prompts, chosen)
    found = dict(itertools.islice(stream, 2))
    stream.close()  # type: ignore[attr-defined]
    rest = [index for index in range(len(prompts)) if index not in found]
    found |= zip(rest, engine.generate([prompts[index] for index in rest], chosen), strict=True)
    assert [found[index] for index in range(len(prompts))] == whole


def test_little_more_than_fits_is_with_the_engine_at_any_time(
    engine: Engine, prompts: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[int] = []
    add = engine.add
    monkeypatch.setattr(engine, "add", lambda key, *given: (added.append(key), add(key, *given)))
    stream = engine.stream(prompts * 10, sampling(n=2))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert engine.capacity == 8 and len(added) == 8  # 16 completions


def test_prompts_of_like_length_are_neighbours_the_longest_first() -> None:
    assert longest_first([[1], [1, 2, 3], [1, 2], [3, 4, 5]]) == [1, 3, 2, 0]


@pytest.mark.parametrize(
    "settings",
    [
        {"penalty_alpha": 0.6, "top_k": 4},
        {"dola_layers": "low"},
        {"force_words_ids": [[5]]},
        {"watermarking_config": {"greenlist_ratio": 0.5}},
        {"repetition_penalty": 3.0, "no_repeat_ngram_size": 1, "suppress_tokens": [5]},
    ],
    ids=["code of the hub", "code of the hub for layers", "code of the hub for words", "a watermark", "penalties"],
)
def test_what_a_checkpoint_says_of_generation_changes_nothing(
    model: Path, engine: Engine, prompts: list[list[int]], tmp_path: Path, settings: dict[str, object]
) -> None:
    shutil.copytree(model, tmp_path / "model")
    file = tmp_path / "model" / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    other = load(
        tiny_models.source(tmp_path / "model"),
        engine="transformers",
        dtype="float32",
        resources=Resources(per_device_batch=8),
    )
    assert other.generate(prompts, sampling()) == engine.generate(prompts, sampling())
