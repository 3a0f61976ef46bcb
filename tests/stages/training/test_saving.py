"""What a model is saved with: generation settings as they were, and nothing that would be refused at the end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stages.contract import StageError
from stages.modeling.checkpoint import load_tokenizer
from stages.training import saving
from tests import tiny_models

ODD: list[dict[str, Any]] = [
    {"temperature": 0.6, "top_p": 0.9, "do_sample": False},
    {"top_p": 0.9},
    {"top_k": 20, "typical_p": 0.9, "min_p": 0.1},
    {"early_stopping": True, "length_penalty": 2.0},
    {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.05},
    {"eos_token_id": [0, 5], "pad_token_id": 1},
    {"pad_token_id": -1},
]


@pytest.mark.parametrize("said", ODD)
def test_generation_settings_are_saved_as_they_were(tmp_path: Path, said: dict[str, Any]) -> None:
    base = tiny_models.base(tmp_path / "base")
    file = base / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **said}))
    for attempt in ("first", "second"):  # what was saved can be trained, and saved, again
        model = saving.load_model(tiny_models.source(base), None, dtype="float32")
        model.save_pretrained(tmp_path / attempt)
        tiny_models.tokenizer().save_pretrained(tmp_path / attempt)
        written = json.loads((tmp_path / attempt / "generation_config.json").read_text())
        assert {name: written[name] for name in said} == said
        base = tmp_path / attempt


def test_what_cannot_be_saved_is_not_trained(tmp_path: Path) -> None:
    source = tiny_models.source(tiny_models.base(tmp_path / "base"))
    model = saving.load_model(source, None, dtype="float32")
    begun: list[object] = []
    trainer: Any = SimpleNamespace(
        model=model,
        processing_class=load_tokenizer(source),
        train=lambda resume_from_checkpoint: begun.append(resume_from_checkpoint),
        state=SimpleNamespace(global_step=1, max_steps=1),
    )
    saving.train(trainer, None)
    assert begun == [None]
    trainer.processing_class.add_special_tokens({"eos_token": "<|im_end|>"})
    with pytest.raises(
        StageError, match=r"eos_token is '<\|im_end\|>' \(id 300\), for which its embedding of 300 rows"
    ):
        saving.train(trainer, None)
    trainer.processing_class = load_tokenizer(source)
    model.generation_config.max_new_tokens = -1
    with pytest.raises(StageError, match="could not be saved after its training: `max_new_tokens` must be"):
        saving.train(trainer, None)
    assert begun == [None]
