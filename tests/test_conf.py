"""Every YAML composes and validates, and says everything that its stage can be told."""

from pathlib import Path

import pytest
import yaml

from orchestrator.__main__ import main
from stages import contract

CONF = Path(__file__).parent.parent / "conf"
EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
#: Those that are about checkpoints that somebody has: each has a test of its own.
GIVEN = ("diagnose", "rehearsal", "rejuvenate")


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name not in GIVEN])
def test_every_experiment_plans(experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["plan", f"+experiment={experiment}", f"store={tmp_path}"]) == 0


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name.startswith(("tiny", "smoke"))])
def test_the_tiny_studies_need_no_hub(
    experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    main(["plan", f"+experiment={experiment}", f"store={tmp_path}"])
    assert "unresolved" not in capsys.readouterr().out


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_says_what_it_asks(experiment: str) -> None:
    assert yaml.safe_load((CONF / "experiment" / f"{experiment}.yaml").read_text())["question"]


@pytest.mark.parametrize("file", sorted(CONF.glob("*/*.yaml")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_file_opens_with_a_comment_that_says_what_it_is(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert next(line for line in lines if not line.startswith("# @package")).startswith("# ")


@pytest.mark.parametrize("file", sorted(CONF.glob("benchmark/*.yaml")), ids=lambda file: file.stem)
def test_a_benchmark_is_named_like_its_file(file: Path) -> None:
    assert list(yaml.safe_load(file.read_text())) == [file.stem]


@pytest.mark.parametrize(
    "file",
    [file for name in contract.names() if name != "evaluate" for file in sorted(CONF.glob(f"{name}/*.yaml"))],
    ids=lambda file: f"{file.parent.name}/{file.stem}",
)
def test_a_stage_group_names_every_field_so_that_each_can_be_overridden(file: Path) -> None:
    assert keys(file) == set(contract.load(file.parent.name).Config.__dataclass_fields__)


def keys(file: Path) -> set[str]:
    """The keys of a group's file, with those of the file that it is based on."""
    found = yaml.safe_load(file.read_text())
    based_on = found.pop("defaults", [])
    return set(found).union(*(keys(file.with_stem(name)) for name in based_on))
