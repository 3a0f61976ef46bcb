"""Repairing a checkpoint that somebody has: one command, checked against the formula from outside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from orchestrator.__main__ import main
from tests import tiny_models

ROOT = Path(__file__).parent.parent
ROWS = ("q_proj", "k_proj", "v_proj", "up_proj", "gate_proj")


def command(folder: Path, *more: str) -> list[str]:
    """The README's command, on the checkpoints of `folder`."""
    return [
        "+experiment=rejuvenate",
        f'base="{folder}/base"',
        f'checkpoint="{folder}/sft"',
        f'calibration="{folder}/rows.jsonl"',
        "rejuvenate.alpha=0.45",
        "rejuvenate.rho=0.02",
        "attribute.samples=3",
        "attribute.targets_per_sample=2",
        f'store="{folder}/store"',
        "cluster=inline",
        *more,
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two checkpoints in different shards, and calibration rows, in a folder with an awkward name."""
    awkward = tmp_path / "a=b, c"
    awkward.mkdir()
    tiny_models.base(awkward / "base", "qwen2")
    tiny_models.sft(awkward / "sft", awkward / "base", shard_size="60KB")
    tiny_models.calibration(awkward / "rows.jsonl")
    return awkward


def tensors(model: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in model.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_the_result_is_the_formula_for_the_reset_set_that_was_written(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(folder)) == 0
    model = Path(capsys.readouterr().out.split("Rejuvenated: ")[1].strip())
    base, sft, made = (tensors(place) for place in (folder / "base", folder / "sft", model))
    alpha, rest = torch.tensor(0.45), torch.tensor(1 - 0.45)
    expected = {name: alpha * sft[name] + rest * base[name] for name in sft}
    reset = pq.read_table(model.parent / "reset.parquet").to_pylist()
    assert reset
    for neuron in reset:
        module, index = neuron["module"], neuron["index"]
        for name in (f"{module}.weight", f"{module}.bias"):
            if module.endswith(ROWS) and name in expected:
                expected[name][index] = base[name][index]
        if not module.endswith(ROWS):
            expected[f"{module}.weight"][:, index] = base[f"{module}.weight"][:, index]
    assert made.keys() == expected.keys()
    assert all(torch.equal(made[name], expected[name]) for name in made)


def test_another_alpha_reuses_the_attribution(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(folder)) == 0
    assert main(["plan", "--json", *command(folder, "rejuvenate.alpha=0.6")]) == 0
    nodes = json.loads(capsys.readouterr().out.splitlines()[-1])["nodes"]
    assert [(node["stage"], node["state"]) for node in nodes] == [("attribute", "done"), ("rejuvenate", "run")]


def test_moved_checkpoints_re_run_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(folder)) == 0
    for name in ("base", "sft", "rows.jsonl"):
        (folder / name).rename(folder / f"moved-{name}")
    moved = [word.replace("/base", "/moved-base").replace("/sft", "/moved-sft") for word in command(folder)]
    moved = [word.replace("/rows", "/moved-rows") for word in moved]
    capsys.readouterr()
    assert main(["plan", *moved]) == 0
    assert "2 distinct: 2 done" in capsys.readouterr().out


def test_models_of_other_shapes_are_refused_before_anything_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_models.base(folder / "other", "qwen2", hidden_size=64)
    assert main([*command(folder), f'base="{folder}/other"']) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "not two states of one model (width 32 and 64, " in errors[0]


def test_models_that_do_not_match_are_refused_one_message_a_difference(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tiny_models.base(folder / "other", "qwen2")
    said = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**said, "hidden_act": "gelu"}))
    assert main([*command(folder), f'base="{other}"']) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert error.startswith(
        f"error: base={other} and checkpoint={folder}/sft: their config.json say that equal weights"
    )
    assert "(config hidden_act: 'gelu' in the base, 'silu' in the checkpoint)" in error


def test_everything_that_is_missing_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path)) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [error.split("=")[0] for error in errors] == ["error: base", "error: calibration", "error: checkpoint"]


@pytest.mark.slow
def test_hub_ids_come_from_the_local_cache_at_its_commits_when_offline(tmp_path: Path) -> None:
    for name, commit in (("base", "a" * 40), ("sft", "b" * 40)):
        repository = tmp_path / "hub" / f"models--me--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(commit)
    base = tiny_models.base(tmp_path / "hub/models--me--base/snapshots" / ("a" * 40))
    tiny_models.sft(tmp_path / "hub/models--me--sft/snapshots" / ("b" * 40), base)
    tiny_models.calibration(tmp_path / "rows.jsonl")
    words = [*command(tmp_path), "base=me/base", "checkpoint=me/sft"]
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    (record,) = (json.loads(file.read_text()) for file in tmp_path.glob("store/rejuvenate/*/record.json"))
    assert record["inputs"]["checkpoint"]["revision"] == "b" * 40
    assert record["inputs"]["base"]["hub"] == "me/base"
