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


def predictions(*entropies: float) -> list[targets.Prediction]:
    return [targets.Prediction(entropy, argmax=20 + place) for place, entropy in enumerate(entropies)]


IDS = [10, 11, 12, 13, 14, 15]
POSITIONS = [1, 2, 3, 4]
BASE, SFT = predictions(1.0, 1.0, 0.0, 2.0), predictions(0.5, 1.1, 0.5, 0.0)


def test_largest_gap_of_either_sign_wins_and_ties_go_to_the_smaller_t() -> None:
    chosen = targets.Rule("entropy_gap", "gold", n=2).choose(IDS, POSITIONS, BASE, SFT)
    assert chosen == [
        targets.Target(t=1, y=12, h_base=1.0, h_sft=0.5),
        targets.Target(t=4, y=15, h_base=2.0, h_sft=0.0),
    ]


def test_other_choices_take_the_lowest_entropies_or_every_position() -> None:
    lowest = targets.Rule("sft_entropy", "gold", n=2).choose(IDS, POSITIONS, BASE, SFT)
    assert [target.t for target in lowest] == [1, 4], "0.5 at t = 1 ties with t = 3, and 0.0 at t = 4 is the lowest"
    every = targets.Rule("all", "gold", n=2).choose(IDS, POSITIONS, BASE, SFT)
    assert [target.t for target in every] == POSITIONS


def test_the_token_is_the_responses_own_or_the_models_most_probable() -> None:
    chosen = targets.Rule("entropy_gap", "argmax", n=2).choose(IDS, POSITIONS, BASE, SFT)
    assert [(target.t, target.y) for target in chosen] == [(1, 20), (4, 23)]


def test_entropy_of_equal_logits_is_the_logarithm_of_the_vocabulary(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_models.base(tmp_path / "base"))
    torch.nn.init.zeros_(model.lm_head.weight)
    (found,) = targets.predict(model, [([4, 5, 6], [0, 2])])
    assert [each.entropy for each in found] == pytest.approx([math.log(model.config.vocab_size)] * 2)


def test_samples_of_other_lengths_beside_it_change_no_prediction(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_models.base(tmp_path / "base", "qwen3"))
    short, long = ([4, 5, 6], [0, 1]), ([9, 8, 7, 6, 5, 4], [2, 4])
    (alone,), beside = targets.predict(model, [short]), targets.predict(model, [long, short])
    assert [each.argmax for each in beside[1]] == [each.argmax for each in alone]
    assert [each.entropy for each in beside[1]] == pytest.approx([each.entropy for each in alone], abs=1e-6)
