"""What of a config decides which code runs is named by `plan`, with the file that sets it; all else is data."""

import json
from pathlib import Path

import pytest

from orchestrator.__main__ import main

HEAD = "# @package _global_\ndefaults:\n  - smoke\n  - _self_\n"


def plan(tmp_path: Path, experiment: str, site: str, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The notes of a plan, without a Slurm: sbatch is not asked for that."""
    for name, text in (("experiment/mine", HEAD + experiment), ("cluster/site", f"defaults: [slurm]\n{site}")):
        file = tmp_path / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    search = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
    code = main(["plan", "--json", "+experiment=mine", "cluster=site", search, f"store={tmp_path / 'store'}", *words])
    seen = json.loads(capsys.readouterr().out)
    assert code == 0, seen
    notes: list[str] = seen["notes"]
    return notes


def test_a_key_that_runs_code_is_named_with_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = "cluster: {stages: {sft: {class: gpu, sbatch: {export: 'ALL,LD_PRELOAD=/tmp/x.so'}}}}"
    site = "default: {sbatch: {container-image: lab.sqsh, comment: x, reservation: lab}}"
    notes = plan(tmp_path, experiment, site, capsys)
    assert [note for note in notes if "set by" in note] == [
        "cluster.default.sbatch.container-image='lab.sqsh': runs the job in a container, with the code that is there; "
        f"set by {tmp_path}/conf/cluster/site.yaml",
        "cluster.stages.sft.sbatch.export='ALL,LD_PRELOAD=/tmp/x.so': sets variables of the job, and some of them "
        f"decide which code it runs; set by {tmp_path}/conf/experiment/mine.yaml",
    ]


@pytest.mark.parametrize("words", [(), ("-m", "seed=0,1")], ids=["one", "sweep"])
def test_the_command_line_is_named_too(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = plan(tmp_path, "", "", capsys, '+cluster.default.sbatch.export="ALL,X=1"', *words)
    assert [note.rpartition("; ")[2] for note in notes if "export" in note] == ["set by the command line"]


@pytest.mark.parametrize(
    "site",
    ["", "default: {sbatch: {export: ALL, comment: 'ALL,X=1', mail-user: a@b, container: false}}", "launcher: local"],
)  # fmt: skip
def test_what_is_data_is_not_named(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["+cluster.default.sbatch.export='ALL,X=1'"] if "local" in site else []
    assert not [note for note in plan(tmp_path, "", site, capsys, *words) if "set by" in note]


def test_a_secret_that_a_config_exports_is_refused_and_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["+experiment=smoke", "cluster=slurm", f"store={tmp_path}"]
    for export in ("ALL,HF_TOKEN=hunter2", "HF_TOKEN=hunter2", "ALL,X=1,WANDB_API_KEY=hunter2"):
        assert main(["plan", *words, f'+cluster.default.sbatch.export="{export}"']) == 2
        said = capsys.readouterr().err
        assert "cluster.default.sbatch.export: " in said and "holds a secret" in said and "hunter2" not in said
    assert main(["plan", *words, '+cluster.default.sbatch.export="ALL,TOKENIZERS_PARALLELISM=1"']) == 0
