"""Comparing two checkpoints that somebody has: one command, without training."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from orchestrator.__main__ import main
from tests import tiny_models


def command(folder: Path, *more: str) -> list[str]:
    """The README's command, on the checkpoints of `folder`."""
    return [
        "+experiment=diagnose",
        f"base={folder}/base",
        f"checkpoint={folder}/sft",
        f"calibration={folder}/rows.jsonl",
        "diagnose.samples=3",
        "diagnose.sharpness_samples=1",
        "diagnose.directions=2",
        f"store={folder}/store",
        "cluster=inline",
        *more,
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints and a prompt set, diagnosed."""
    made = tmp_path_factory.mktemp("diagnosed")
    tiny_models.base(made / "base", "qwen3")
    tiny_models.sft(made / "sft", made / "base")
    tiny_models.calibration(made / "rows.jsonl")
    assert main(command(made)) == 0
    return made


def test_it_says_where_the_files_are_and_they_are_about_these_checkpoints(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", *command(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    place = Path(next(line for line in lines if line.startswith("Checkpoint-base: ")).partition(": ")[2])
    base, sft = (load_file(folder / name / "model.safetensors") for name in ("base", "sft"))
    measured = {row["tensor"]: row["norm"] for row in pq.read_table(place / "weights.parquet").to_pylist()}
    assert measured == pytest.approx({name: torch.linalg.norm(sft[name] - base[name]).item() for name in sft}, rel=1e-4)


def test_the_table_has_the_numbers_of_the_record(folder: Path) -> None:
    (record,) = (json.loads(file.read_text()) for file in folder.glob("store/diagnose/*/record.json"))
    with (folder / "store/reports/diagnose/diagnoses.csv").open() as stream:
        (row,) = csv.DictReader(stream)
    assert row.pop("diagnosis") == "Checkpoint-base"
    assert row == {name: str(value) for name, value in record["summary"].items()}


def test_scripts_get_the_numbers_and_the_place(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--json", *command(folder)]) == 0
    shown = json.loads(capsys.readouterr().out)["diagnoses"]["Checkpoint-base"]
    assert shown["numbers"]["samples"] == 3
    assert (Path(shown["path"]) / "weights.parquet").is_file()


def test_what_is_not_published_is_missing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = command(folder, "diagnose.samples=2")
    assert main(["report", "--json", *other]) == 0
    assert json.loads(capsys.readouterr().out)["diagnoses"] == {"Checkpoint-base": {"path": None, "numbers": None}}
    assert main(["report", *other]) == 0
    assert "no diagnosis is published yet" in capsys.readouterr().out
    assert main(["report", *command(folder)]) == 0  # as the other tests find it


def test_it_is_done_once_and_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *command(folder)]) == 0
    assert "1 distinct: 1 done" in capsys.readouterr().out
    assert main(["gc", f"store={folder}/store"]) == 0
    assert "nothing of yours can go" in capsys.readouterr().out


def test_what_is_not_given_is_asked_for(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["+experiment=diagnose", f"store={tmp_path}"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [error.partition(": ")[2] for error in errors] == [
        "variants.Checkpoint[0]=checkpoint: checkpoint has no value; set it to a hub id or a folder",
        "diagnoses.Checkpoint-base.reference=base: base has no value; set it to a hub id or a folder",
    ]


def test_a_repair_is_explained_by_the_attribution_of_its_own_chain(folder: Path) -> None:
    words = [word for word in command(folder) if not word.startswith(("+experiment", "diagnose."))]
    repair = "{checkpoint:Rejuvenated,reference:base,attribution:Rejuvenated}"
    few = [
        "attribute.samples=2",
        "attribute.targets_per_sample=2",
        "diagnose.samples=2",
        "diagnose.sharpness_samples=0",
    ]
    assert main(["+experiment=rejuvenate", "+diagnose=tiny", f"+diagnoses={{Repair:{repair}}}", *few, *words]) == 0
    (reset,) = folder.glob("store/rejuvenate/Rejuvenated-*/reset.parquet")
    (counted,) = folder.glob("store/diagnose/Repair-*/resets.parquet")
    assert sum(row["selected"] for row in pq.read_table(counted).to_pylist()) == pq.read_table(reset).num_rows > 0
