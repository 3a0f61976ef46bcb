"""The formulas of the scores on numbers that can be checked by hand, and the model that computes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.rejuvenation import architecture, attribution
from stages.rejuvenation.packing import Passage
from tests import tiny_models


def test_a_writers_neuron_contributes_its_activation_times_its_column_on_d() -> None:
    weight = torch.tensor([[1.0, 0.0], [3.0, 5.0]])  # columns (1, 3) and (0, 5); on d = (1, 1) they are 4 and 5
    scores = attribution.writer_scores(torch.tensor([[2.0, -1.0]]), weight, torch.tensor([[1.0, 1.0]]))
    assert scores.tolist() == [[8.0, -5.0]]


def test_no_later_token_changes_a_score(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_models.base(tmp_path / "base"))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    modules = architecture.modules(shapes, model.config.num_hidden_layers)
    one = attribution.attribute(model, modules, [Passage([2, 3, 4, 5, 6, 7], [1, 2], [4, 5])])
    two = attribution.attribute(model, modules, [Passage([2, 3, 4, 5, 9, 9], [1, 2], [4, 5])])
    assert torch.equal(one.scores_NM, two.scores_NM)


def test_layers_that_are_run_again_give_the_same_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for family in tiny_models.FAMILIES:
        model = AutoModelForCausalLM.from_pretrained(tiny_models.base(tmp_path / family, family))
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        modules = architecture.modules(shapes, model.config.num_hidden_layers)
        passages = [Passage([2, 3, 4, 5, 6, 7], [1, 4], [4, 7]), Passage([9, 8, 7], [1], [7])]
        kept = attribution.attribute(model, modules, passages)
        with monkeypatch.context() as patch:
            patch.setattr(attribution, "_KEPT", 0)
            again = attribution.attribute(model, modules, passages)
        assert torch.allclose(kept.scores_NM, again.scores_NM, rtol=1e-4, atol=1e-6 * float(kept.scores_NM.abs().max()))
        assert kept.z == again.z
