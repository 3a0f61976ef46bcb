"""What a plan shows of it: a line or three by default, everything with --cost, all of it for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.__main__ import main
from tests import tiny_models
from tests.orchestrator.forecast.paper import EIGHT, P, study


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


#: The same eight GPUs, over which a training is cut.
CUT = [*EIGHT, "cluster.classes.train.sharding=fsdp2"]
FAST = ["++cluster.classes.gpu.gpu_tflops=989", "++cluster.classes.train.gpu_tflops=989"]


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["plan", *words]) == 0
    return capsys.readouterr().out.splitlines()


def cost(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The cost of a plan, and of each node by stage and label."""
    assert main(["plan", "--json", *words]) == 0
    found = json.loads(capsys.readouterr().out)
    by_name = {f"{node['stage']}/{node['label']}": node["fingerprint"] for node in found["nodes"]}
    return found["cost"], {name: found["cost"]["nodes"][key] for name, key in by_name.items()}


def test_a_tiny_study_has_one_line_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *_, counts, disk = shown(capsys, "+experiment=smoke", f"store={tmp_path}")
    assert counts.endswith("5 distinct: 5 to run")
    assert disk.startswith("disk: ") and " when it is done, " in disk and disk.endswith(" free")


def test_with_gpus_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = study(tmp_path, *CUT, "only=[ModSFT+RL]", "benchmark=[math500]", "~diagnoses", *FAST)
    memory, hours, disk = shown(capsys, *words)[-3:]
    assert memory == "GPU memory: sft 38.2 of 80, grpo 54.0 of 80, evaluate 10.5 of 80 GB"
    # 8P x 2 x 99,840 x 2,048 operations at 0.4 x 989 TFLOP/s: 9.2 hours of a GPU
    assert hours == "GPU hours: at most 65 (sft 9.2, grpo 55, evaluate 0.034)"
    assert disk.startswith("disk: 64.0 GB when it is done, 144.0 GB on the way (grpo/ModSFT+RL); ")


def test_what_is_not_known_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, "+experiment=evolm_math", f"store={tmp_path}", "cluster=slurm")[-4:]
    assert lines[0].startswith("GPU memory: sft unknown, ")
    assert lines[1] == "GPU hours: unknown; set gpu_tflops, or run the like once"
    assert lines[2].startswith("disk: unknown; ")
    assert lines[3] == ("not known, and not counted: zhenting/evolm-4B-160BT-cpt-MixedFW8FM42: its commit is not known")


def test_the_arithmetic_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "\n".join(shown(capsys, "--cost", *study(tmp_path, *CUT, "only=[ModSFT+RL]")))
    assert "grpo/ModSFT+RL, each training GPU, in a step: 37.8 GB of 56.0 (70% of 80)\n" in text
    assert "\n    Adam's moments 8P / 8 = 4.00\n" in text
    assert "\n    head 256 MiB tile + hidden states + 4 x 131,072,000 = 1.20  (a bound)\n" in text
    # 24 GB less weights and graphs are 14.6: of 1,536 x 57,344 bytes each
    assert "the engine on each GPU: 9.6 GB of 24.0 (30% of 80), room for 164 sequences of 1536 tokens\n" in text


def test_all_of_it_for_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, nodes = cost(capsys, *study(tmp_path, *CUT, "only=[ModSFT+RL]", *FAST))
    assert whole.keys() == {"nodes", "unknown", "gpu_hours", "disk"}
    sft = nodes["sft/ModSFT+RL"]
    assert (sft["parameters"], sft["processes"], sft["gpus"], round(sft["gpu_memory"], 1)) == (P, 8, 8, 38.2)
    assert sft["disk"] == {"published": 12 * P, "state": 8 * P, "running": 24 * P, "exact": True, "sure": 0.0}
    assert sft["loads"][1]["parts"][0] == {
        "what": "master weights", "bytes": 4 * P / 8, "how": "4P / 8", "exact": True
    }  # fmt: skip
    assert whole["gpu_hours"] == pytest.approx(sum(node["duration"]["gpu_hours"] for node in nodes.values()))
    assert whole["disk"]["peak"] == (12 + 24) * P


def test_a_longer_training_counts_what_it_adds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = study(tmp_path, *CUT, *FAST)
    _, both = cost(capsys, *words, "only=[ModSFT,OverSFT]")
    _, alone = cost(capsys, *words, "only=[OverSFT]")
    seconds = alone["sft/OverSFT"]["duration"]["seconds"]
    assert both["sft/OverSFT"]["duration"]["seconds"] == pytest.approx(seconds * 30 / 32)


def test_what_is_done_costs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["+experiment=rejuvenate", "attribute.samples=2", "attribute.targets_per_sample=2", "rejuvenate.alpha=0.5"]
    base = tiny_models.base(tmp_path / "base")
    sft, rows = tiny_models.sft(tmp_path / "sft", base), tiny_models.calibration(tmp_path / "rows.jsonl")
    words += [f"base={base}", f"checkpoint={sft}", f"calibration={rows}", "rejuvenate.rho=0.02", f"store={tmp_path}/s"]
    assert any(line.startswith("disk: ") for line in shown(capsys, *words))
    assert main([*words, "cluster=inline"]) == 0
    capsys.readouterr()
    assert not any(line.startswith("disk: ") for line in shown(capsys, *words))
    # A second one of its kind is known by the first: how long it takes, on as many cores.
    _, nodes = cost(capsys, *words, "attribute.samples=4", "cluster=inline")
    lasting = nodes["attribute/Rejuvenated"]["duration"]
    assert lasting["by"] == "1 record" and lasting["gpu_hours"] == 0 and lasting["seconds"] > 0
