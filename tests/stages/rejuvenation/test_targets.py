"""Entropy and the choice of targets."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from stages.data.tokens import Sequence
from stages.rejuvenation import calibration, targets
from tests import tiny_models


def test_candidates_predict_response_tokens() -> None:
    assert calibration.candidates(Sequence([5, 6, 7, 8], [0, 0, 1, 1])) == [1, 2]
    assert calibration.candidates(Sequence([7, 8], [1, 1])) == [0], "nothing predicts the first token"


def test_largest_gap_of_either_sign_wins_and_ties_go_to_the_smaller_t() -> None:
    ids = [10, 11, 12, 13, 14, 15]
    chosen = targets.choose(ids, [1, 2, 3, 4], h_base=[1.0, 1.0, 0.0, 2.0], h_sft=[0.5, 1.1, 0.5, 0.0], n=2)
    assert chosen == [
        targets.Target(t=1, y=12, h_base=1.0, h_sft=0.5),
        targets.Target(t=4, y=15, h_base=2.0, h_sft=0.0),
    ]


def test_entropy_of_equal_logits_is_the_logarithm_of_the_vocabulary(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_models.base(tmp_path / "base"))
    torch.nn.init.zeros_(model.lm_head.weight)
    found = targets.entropies(model, [4, 5, 6], [0, 2])
    assert found == pytest.approx([math.log(model.config.vocab_size)] * 2)
