"""The rehearsal runs every stage on a model of its own, and says what they took."""

from __future__ import annotations

import pytest

from bench import rehearsal

SHAPE = ["--layers=2", "--width=64", "--mlp=128", "--heads=4", "--kv-heads=2", "--vocabulary=512", "--positions=128"]
LENGTHS = ["grpo.max_prompt=32", "grpo.max_new_tokens=16", "sft.max_length=128", "evaluate.max_new_tokens=16"]
ENGINES = ["grpo.engine=transformers", "grpo.rollout_seeds=each", "evaluate.engine=transformers"]


@pytest.mark.slow
def test_every_stage_has_its_seconds_tokens_and_memory(capfd: pytest.CaptureFixture[str]) -> None:
    rehearsal.main([*SHAPE, *LENGTHS, *ENGINES, "cluster=inline"])
    lines = capfd.readouterr().out.splitlines()
    rows = {line.split("│")[1].strip(): line.split("│") for line in lines if line.startswith("│")}
    assert list(rows) == ["sft", "attribute", "rejuvenate", "grpo", "evaluate"]
    for stage, cells in rows.items():
        assert float(cells[2]) > 0 and cells[6].strip().endswith("GB")
        assert bool(cells[4].strip()) == (stage in ("sft", "grpo", "evaluate"))
