"""Parameters are counted exactly, from a config alone."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.forecast import shape
from orchestrator.forecast.shape import Shape
from stages import pretrain
from tests.orchestrator.forecast.paper import EVOLM


def of(config: dict[str, Any]) -> Shape:
    found = shape.of_config(config)
    assert found is not None
    return found


def test_evolm() -> None:
    # q and o: 4096 x 4096 each; k and v: 4096 x 512 each; gate, up and down: 4096 x 7792 each; two norms of 4096
    evolm = of(EVOLM)
    assert evolm.layer == 2 * 16_777_216 + 2 * 2_097_152 + 3 * 31_916_032 + 2 * 4096 == 133_505_024
    assert evolm.embedding == 131_072_000
    assert evolm.parameters == 28 * 133_505_024 + 2 * 131_072_000 + 4096 == 4_000_288_768


def test_what_else_evolm_determines() -> None:
    evolm = of(EVOLM)
    assert evolm.cache("bfloat16") == 2 * 28 * 4 * 128 * 2 == 57_344  # bytes a token
    assert evolm.neurons == 28 * (4096 + 512 + 512 + 4096 + 3 * 7792) == 912_576


@pytest.mark.parametrize(
    ("family", "config", "parameters"),
    [
        # Qwen2.5-0.5B: tied, biases of q (896), k and v (128 each)
        (
            "qwen2",
            {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
            | {"num_key_value_heads": 2, "vocab_size": 151_936, "tie_word_embeddings": True},
            494_032_768,
        ),
        # Qwen3-0.6B: tied, heads of 128 that are together wider than the model, norms of q's and k's heads
        (
            "qwen3",
            {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16}
            | {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936, "tie_word_embeddings": True},
            596_049_920,
        ),
        # Llama-2-7B: as many key heads as query heads, which its config need not say
        (
            "llama",
            {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
            | {"vocab_size": 32000},
            6_738_415_616,
        ),
    ],
)
def test_known_models(family: str, config: dict[str, Any], parameters: int) -> None:
    assert of({"model_type": family, "max_position_embeddings": 4096, **config}).parameters == parameters


@pytest.mark.parametrize(
    "config",
    [{}, {"model_type": "llama"}, {**EVOLM, "model_type": "gpt2"}, {**EVOLM, "hidden_size": None}, {"model_type": []}],
)
def test_what_a_config_does_not_say_is_unknown(config: dict[str, Any]) -> None:
    assert shape.of_config(config) is None


@pytest.mark.parametrize("family", ["llama", "llama_tied", "llama_biased", "qwen2", "qwen3"])
def test_the_count_is_that_of_the_model(family: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    from tests import tiny_models

    biased = {"attention_bias": True, "mlp_bias": True} if family == "llama_biased" else {}
    folder = tiny_models.base(tmp_path, family.removesuffix("_biased"), **biased)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    found = of(AutoConfig.from_pretrained(folder).to_dict())
    assert found.parameters == model.num_parameters()
    assert found.layer == sum(parameter.numel() for parameter in model.model.layers[0].parameters())


def test_the_base_that_a_study_pretrains() -> None:
    from stages.world.pretraining import build
    from tests import tiny_models

    sizes = {"layers": 2, "width": 64, "mlp": 192, "heads": 2, "kv_heads": 1}
    words = tiny_models.tokenizer(300)
    found = shape.of_pretraining({**sizes, "vocabulary": len(words), "seed": 0})
    from stages.world.pretraining import Shape as Sizes

    model = build(words, Sizes(**sizes), 0)
    assert found.parameters == model.num_parameters()
    assert found.positions == model.config.max_position_embeddings == pretrain.POSITIONS
