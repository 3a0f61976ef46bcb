"""Packed forward passes: which positions come out, and that packing changes nothing but rounding."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from stages.diagnosis import forward
from stages.diagnosis.forward import Sample
from tests import tiny_models

SAMPLES = [
    Sample([5, 9, 7, 3, 8, 2], [2, 3]),
    Sample([4, 4], []),
    Sample([6, 2, 9, 9, 1, 4, 8, 7, 3], [0, 4, 7]),
    Sample([3, 1, 2], [1]),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_models.base(tmp_path_factory.mktemp("model"), "qwen3")).eval()


def rows(model: PreTrainedModel, batch: int) -> dict[tuple[int, int], torch.Tensor]:
    """Logits by sample and position."""
    return {
        (number, SAMPLES[number].positions[start + row]): values
        for number, start, logits in forward.logits(model, SAMPLES, batch)
        for row, values in enumerate(logits)
    }


@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("block", [1, 2, 256])
def test_logits_are_those_of_each_sample_alone(
    model: PreTrainedModel, batch: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "ROWS", block)
    found = rows(model, batch)
    assert sorted(found) == [(n, t) for n, sample in enumerate(SAMPLES) for t in sample.positions]
    for (number, t), values in found.items():
        with torch.no_grad():
            alone = model(torch.tensor([SAMPLES[number].input_ids])).logits[0, t]
        assert torch.allclose(values, alone, atol=1e-4)


def test_mean_nll_is_that_of_the_tokens_that_follow(model: PreTrainedModel) -> None:
    ticks: list[None] = []
    found = forward.mean_nll(model, SAMPLES, 2, lambda: ticks.append(None))
    terms = [
        -torch.log_softmax(values, -1)[SAMPLES[number].input_ids[t + 1]]
        for (number, t), values in rows(model, 1).items()
    ]
    assert found == pytest.approx(torch.stack(terms).mean().item(), rel=1e-5)
    assert len(ticks) == 3


def test_a_pass_has_samples_of_like_length() -> None:
    assert forward.packs([3, 9, 0, 4, 8], 2) == [[1, 4], [3, 0]]
