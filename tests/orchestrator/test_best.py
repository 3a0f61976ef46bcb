"""The command that would give an answer, and the sentence that says what there is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator import best, learned, results, status
from orchestrator.best import Best
from orchestrator.command import Command
from orchestrator.estimate import Estimate
from tests.orchestrator.document.synthetic import Synthetic
from tests.orchestrator.test_learned import IDLE

COMMAND = "python -m orchestrator run"


@pytest.mark.parametrize(
    ("overrides", "seeds", "rows", "said"),
    [
        (["+experiment=a"], [], [], "+experiment=a"),
        (["+experiment=a", "seed=3", "only=[A]"], [3, 4], [], "+experiment=a 'only=[A]' 'seeds=[3,4]'"),
        (["-m", "+experiment=a", "seed=0,1", "b=1,2"], [0, 1], [], "-m +experiment=a b=1,2 'seeds=[0,1]'"),
        (["+experiment=a", "seeds=[1,2]", "replicated=[A]"], [3, 4], ["A"], "+experiment=a 'only=[A]' 'seeds=[3,4]'"),
        (["+experiment=a"], [3], ["A@x=1"], "+experiment=a 'seeds=[3]'"),
        (["+experiment=a"], [3], ["A b"], "+experiment=a 'only=[\"A b\"]' 'seeds=[3]'"),
    ],
)
def test_the_command_is_that_of_the_study_with_other_seeds(
    overrides: list[str], seeds: list[int], rows: list[str], said: str
) -> None:
    assert best.again(overrides, seeds, rows) == f"{COMMAND} {said}"


@pytest.mark.parametrize(("state", "has"), [("nothing", False), ("alone", False), ("best", False), ("level", True)])
def test_there_is_a_command_where_seeds_would_help(state: best.State, has: bool) -> None:
    found = Best(state=state, column="avg", rows=["A", "B"], level=["A", "B"], seeds=3, wanted=[4, 5])
    assert bool(found.command(["+experiment=a"])) is has


@pytest.mark.parametrize(
    ("mean", "error", "seeds", "apart"),
    [(0.1, 0.01, 3, True), (0.1, 0.05, 3, False), (0.1, 0.01, 1, False), (-0.1, 0.01, 3, False), (0.0, 0.0, 3, False)],
)
def test_a_lead_needs_seeds_and_an_interval_above_0(mean: float, error: float, seeds: int, apart: bool) -> None:
    assert best.told(Estimate(mean=mean, error=error, freedom=2, seeds=seeds)) is apart
    assert not best.told(None)


def test_names_are_listed_as_people_do() -> None:
    assert [best.listed(names) for names in (["A"], ["A", "B"], ["A", "B", "C"])] == ["A", "A and B", "A, B and C"]


def test_the_terminal_and_programs_are_told_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = Synthetic(tmp_path / "store", "only=[ModSFT,ModSFT+RL,OverSFT+RL]")
    study.publish()
    (idle,) = (node for node in study.nodes if node.stage == "grpo" and node.label == "OverSFT+RL")
    study.remove(idle)
    study.publish([idle], summary=IDLE)
    study.rewrite(idle, "training.jsonl", (json.dumps({"rollout": 1, "step": 1, **IDLE}) + "\n").encode())
    headline = "No answer yet: each of the 2 rows after RL has one seed."
    command = f"{COMMAND} +experiment=tiny_variants 'only=[ModSFT,ModSFT+RL,OverSFT+RL]' store={tmp_path}/store "
    note = f"grpo/OverSFT+RL: {learned.of_curve([IDLE])}"

    results.show(study.study, as_json=True, overrides=study.overrides)
    found = json.loads(capsys.readouterr().out)
    assert (found["answer"]["state"], found["answer"]["column"]) == ("one seed", "avg")
    assert found["answer"]["said"].startswith(headline)
    assert found["answer"]["command"] == f"{command}'seeds=[0,1,2]'"
    assert found["notes"] == [note]

    results.show(study.study, as_json=False, overrides=study.overrides)
    shown = capsys.readouterr().out
    assert headline in shown and f"  {command}'seeds=[0,1,2]'" in shown and f"note: {note}" in shown
    assert "of one seed it is over its problems alone" in shown

    status.verb(study.study, Command("status", None, frozenset(), study.overrides))
    assert f"note: {note}" in capsys.readouterr().out
    status.verb(study.study, Command("status", None, frozenset({"--json"}), study.overrides))
    assert note in json.loads(capsys.readouterr().out)["notes"]
