"""W&B's variables of the environment: taken as its client takes them, and they stop nobody."""

from pathlib import Path

import pytest

from launch.tracking import Tracking
from orchestrator import config, experiment, tracked


@pytest.mark.parametrize(
    ("value", "mode", "noted"),
    [
        ("dryrun", "offline", False),
        ("run", "online", False),
        ("shared", "online", False),
        ("", "offline", False),
        (" ", "offline", False),
        ("offline", "offline", False),
        ("online", "online", False),
        ("disabled", "disabled", False),
        ("true", "offline", True),
        ("Offline", "offline", True),
    ],
)
def test_a_mode(value: str, mode: str, noted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", value)
    composed = config.compose(["+experiment=smoke"])
    study = experiment.read(composed.config, composed.overrides)
    assert study.tracking.mode == mode
    assert [note[:10] for note in study.notes] == ["WANDB_MODE"] * noted


@pytest.mark.parametrize(
    ("variable", "value", "taken", "noted"),
    [
        ("WANDB_PROJECT", "", "rejuvenation", False),
        ("WANDB_PROJECT", "my project é", "my project é", False),
        ("WANDB_PROJECT", "a/b", "rejuvenation", True),
        ("WANDB_PROJECT", "p" * 129, "rejuvenation", True),
        ("WANDB_ENTITY", "", None, False),
        ("WANDB_ENTITY", "my-team", "my-team", False),
        ("WANDB_ENTITY", "my team", None, True),
    ],
)
def test_a_project_and_its_owner(variable: str, value: str, taken: str | None, noted: bool) -> None:
    key = variable.removeprefix("WANDB_").lower()
    found, notes = tracked.read({"mode": "offline", key: value}, {variable: value})
    assert getattr(Tracking(**found), key) == taken
    assert [note.partition("=")[0] for note in notes] == [variable] * noted


def test_the_command_line_says_more_than_the_environment(tmp_path: Path) -> None:
    assert tracked.read({"mode": "dry"}, {"WANDB_MODE": "dryrun"}) == ({"mode": "dry"}, [])  # refused, like any value
    assert tracked.read("offline", {"WANDB_MODE": "run"}) == ("offline", [])
