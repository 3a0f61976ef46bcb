"""Sweeps: one graph of all members, through the real Hydra."""

import importlib.util
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator import config, experiment, sweep
from orchestrator.__main__ import main
from orchestrator.config import Composed
from orchestrator.graph import Node
from orchestrator.refusal import ConfigError
from tests.orchestrator.test_main import messages

GRID = ("rejuvenate.alpha=0.4,0.5", "rejuvenate.rho=0.01,0.02")

#: A study of toy stages: Long trains for 4 epochs and Short for 2, from one base, at the swept rate; Base does neither.
TOYS = (
    "name=toys",
    "cluster=inline",
    "base=[toy_base]",
    "+toy_base={value:1.5}",
    "+toy_train={rate:2.0,seconds:0.0,limit:1e9}",
    "+toy_probe={digit:0}",
    "+variants={Long:[{toy_train:{epochs:4}}],Short:[{toy_train:{epochs:2}},toy_probe],Base:[toy_probe]}",
)


def nodes(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """The nodes of a plan."""
    capsys.readouterr()
    assert main(["plan", "--json", *arguments]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["nodes"]
    return found


def names(found: list[dict[str, Any]]) -> set[str]:
    return {f"{node['stage']}/{node['label']}" for node in found}


def test_each_distinct_node_is_planned_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = nodes(capsys, "-m", "+experiment=tiny_math", *GRID, f"store={tmp_path}")
    assert Counter(node["stage"] for node in found) == {
        "pretrain": 1, "sft": 2, "attribute": 1, "rejuvenate": 4 * 2, "grpo": 2 + 4 * 2, "evaluate": 4 * (4 + 4 * 4),
        "diagnose": 4 + 4 * 2, "contamination": 4 * 2,
    }  # fmt: skip
    assert len({node["fingerprint"] for node in found}) == len(found)


def test_a_sweep_has_the_nodes_of_its_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = [
        nodes(capsys, "+experiment=tiny_math", f"rejuvenate.alpha={alpha}", f"store={tmp_path}") for alpha in (0.4, 0.5)
    ]
    together = nodes(capsys, "-m", "+experiment=tiny_math", "rejuvenate.alpha=0.4,0.5", f"store={tmp_path}")
    assert {node["fingerprint"] for node in together} == {node["fingerprint"] for member in alone for node in member}


def test_inputs_stand_before_what_reads_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = nodes(capsys, "-m", "+experiment=tiny_math", *GRID, "seed=0,1", f"store={tmp_path}")
    place = {node["fingerprint"]: number for number, node in enumerate(found)}
    above = [(node, key) for node in found for key in node["inputs"].values() if key in place]
    assert above and all(place[key] < place[node["fingerprint"]] for node, key in above)


def test_a_label_says_for_which_values_a_node_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = names(nodes(capsys, "-m", "+experiment=tiny_math", *GRID, "grpo.beta=0.0,0.001", f"store={tmp_path}"))
    assert "attribute/Rejuvenation" in found  # of all members
    assert "rejuvenate/Rejuvenation@alpha=0.4,rho=0.02" in found  # for either beta
    assert "grpo/ModSFT+RL@beta=0.001" in found  # for every alpha and rho
    assert "evaluate/Rejuvenation+RL.tiny_sums@alpha=0.5,rho=0.01,beta=0.0" in found


def test_keys_that_end_alike_are_written_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("only=[ModSFT+RL]", "sft.seed=0,1", "grpo.seed=0,1", f"store={tmp_path}")
    assert "grpo/ModSFT+RL@sft.seed=0,grpo.seed=1" in names(nodes(capsys, "-m", "+experiment=tiny_math", *arguments))


def test_long_values_make_labels_that_a_folder_can_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stops = ",".join(f"[{letter * 300}]" for letter in "ab")
    found = nodes(capsys, "-m", "+experiment=tiny_math", "only=[ModSFT]", f"evaluate.stop={stops}", f"store={tmp_path}")
    folders = [Path(node["path"]).name for node in found]
    assert len(set(folders)) == len(found) and max(len(folder) for folder in folders) < 200


def test_why_finds_a_member(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = "rejuvenate/Rejuvenation@alpha=0.4,rho=0.02"
    assert main(["why", node, "--json", "-m", "+experiment=tiny_math", *GRID, f"store={tmp_path}"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)["nodes"]
    assert (answer["identity"]["config"]["alpha"], answer["identity"]["config"]["rho"]) == (0.4, 0.02)


def test_a_plan_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    nodes(capsys, "-m", "+experiment=tiny_math", *GRID)
    assert not list(tmp_path.iterdir())


def composed(*arguments: str) -> list[Composed]:
    """The members that Hydra's sweeper asks for."""
    found: list[Composed] = []

    def act(members: list[Composed], search: bool) -> list[None]:
        assert not search
        found.extend(members)
        return [None] * len(members)

    assert config.sweep(list(arguments), act) is None
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sweeper", ["grid", "basic"])
def test_a_member_composes_to_what_it_is_alone(sweeper: str) -> None:
    swept = composed("+experiment=tiny_math", f"hydra/sweeper={sweeper}", *GRID, "benchmark=[tiny_sums],[]", "+x=1,2")
    for member in swept:
        alone = config.compose(["+experiment=tiny_math", *(f"{key}={text}" for key, text in member.values.items())])
        assert (member.config, member.overrides) == (alone.config, alone.overrides)
    assert len({json.dumps(member.config) for member in swept}) == 16


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), ConfigError(["wrong"]), ValueError("a bug")], ids=repr)
def test_what_is_raised_inside_passes_through(raised: BaseException) -> None:
    def act(members: list[Composed], search: bool) -> list[None]:
        raise raised

    with pytest.raises(type(raised)) as caught:
        config.sweep(["+experiment=tiny_math", "seed=0,1"], act)
    assert caught.value is raised


def test_one_member_is_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("+experiment=tiny_math", "rejuvenate.alpha=0.4", f"store={tmp_path}")
    assert nodes(capsys, "-m", *arguments) == nodes(capsys, *arguments)


def test_several_values_need_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = messages(capsys, "plan", "+experiment=tiny_math", "rejuvenate.rho=0.01,0.02")
    assert message.startswith("rejuvenate.rho=0.01,0.02: several values; one run takes one value; a sweep has -m")


def test_one_bad_value_is_named_once_for_all_members(capsys: pytest.CaptureFixture[str]) -> None:
    start = ("plan", "-m", "+experiment=tiny_math")
    found = messages(capsys, *start, "rejuvenate.alpha=0.4,3,4", "rejuvenate.rho=0.01,0.02")
    assert found == [f"rejuvenate.alpha={bad}: input should be less than or equal to 1" for bad in (3, 4)]
    (message,) = messages(capsys, *start, "rejuvenate.alpha=0.4,0.5", "rejuvenate.rho=0.01,0.2")
    assert message == "rejuvenate.rho=0.2: above attribute.keep=0.1; raise attribute.keep"


def test_a_message_that_does_not_name_the_value_is_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = messages(
        capsys, "plan", "-m", "+experiment=tiny_math", "rejuvenate.alpha=0.4,0.5", "only=[Rejuvenation],[Rejuvenatio]"
    )
    assert message.startswith("only: 'Rejuvenatio' is not a variant; did you mean 'Rejuvenation'?")
    assert message.endswith("(where only=[Rejuvenatio])")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("+experiment=tiny_maths", "seed=0,1"), "+experiment=tiny_maths: no such experiment"),
        (("+experiment=tiny_math", "cluster=local,slurmm"), "cluster=slurmm: no such cluster"),
        (("+experiment=tiny_math", "rejuvenate.alfa=1,2"), "rejuvenate.alfa=1: no such key; did you mean 'alpha'?"),
        (("+experiment=tiny_math", "sft.lrr=1", "seed=0,1"), "sft.lrr=1: no such key"),
        (("+experiment=tiny_math", "seed=0,1", "hydra/sweeper=grit"), "hydra/sweeper=grit: no such hydra/sweeper"),
        (("+experiment=tiny_math", "store=a,b"), "store=a,b: a sweep has one store"),
        (("+experiment=tiny_math,tiny_variants",), "name=tiny_math,tiny_variants: a sweep has one experiment"),
        (("+experiment=tiny_math", "cluster=local,inline"), "cluster: differs among the members"),
        (("+experiment=tiny_math", "seed=range(5,5)"), "seed=range(5,5): no values, so the sweep has no members"),
        (("+experiment=tiny_math", "seed=range(5,6,0)"), "seed=range(5,6,0): a range with step 0 has no end"),
        (("+experiment=tiny_math", "rejuvenate.alpha="), "rejuvenate.alpha='': input should be a valid number"),
        (("+experiment=tiny_math", "rejuvenate.alpha=interval(0,1)"), "rejuvenate.alpha=interval(0,1): a grid has no"),
        (("+experiment=tiny_math", "objective.variant=a,b"), "objective.variant=a: objective is null"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_refused(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert messages(capsys, "plan", "-m", *arguments)[0].startswith(message)
    assert not list(tmp_path.iterdir())


def test_too_many_members_are_refused_before_any_is_composed(capsys: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    (message,) = messages(
        capsys, "plan", "-m", "+experiment=tiny_math", "seed=range(0,1000)", "rejuvenate.alpha=range(0.0,1.0,0.01)"
    )
    assert message.startswith("-m: 100000 members = 1000 (seed) x 100 (rejuvenate.alpha); at most 2000; ")
    assert time.monotonic() - started < 3  # composing them takes hours; counting them, a blink on an idle machine


def read(*arguments: str) -> list[sweep.Member]:
    """The members of a sweep, each with its graph."""
    members: list[sweep.Member] = []

    def act(composed: list[Composed], search: bool) -> list[None]:
        members.extend(sweep.read(composed))
        return [None] * len(composed)

    config.sweep(list(arguments), act)
    return members


def test_diagnoses_that_differ_are_told_apart(tmp_path: Path) -> None:
    chosen = ("only=[OverSFT,Rejuvenation]", "benchmark=[]", f"store={tmp_path}")
    merged, graph = sweep.merge(read("+experiment=tiny_math", "rejuvenate.alpha=0.4,0.5", *chosen))
    assert (
        [*merged.diagnoses]
        == [*graph.diagnoses]
        == [
            "OverSFT-base",
            "Rejuvenation-base@alpha=0.4",
            "Rejuvenation-base@alpha=0.5",
            "Rejuvenation-OverSFT@alpha=0.4",
            "Rejuvenation-OverSFT@alpha=0.5",
        ]
    )
    for name, node in graph.diagnoses.items():
        assert graph.nodes[node.fingerprint] is node and node.label == name
        assert all(graph.nodes[need.fingerprint] is need for need in node.needs())


@pytest.mark.usefixtures("toys")
def test_a_sweep_is_carried_out_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("-m", *TOYS, "toy_train.rate=2.0,3.0", f"store={tmp_path}")
    assert main(list(arguments)) == 0
    stages = Counter(file.parent.parent.name for file in tmp_path.glob("*/*/record.json"))
    assert stages == {"toy_base": 1, "toy_train": 4, "toy_probe": 3}
    shown = capsys.readouterr().out
    rows = {line.partition(": ")[0] for line in shown.splitlines() if ": " in line}
    assert rows >= {"Long@rate=2.0", "Long@rate=3.0", "Short@rate=2.0", "Short@rate=3.0", "Base"}
    assert {node["state"] for node in nodes(capsys, *arguments)} == {"done"}
    more = nodes(capsys, "-m", *TOYS, "toy_train.rate=2.0,3.0,4.0", f"store={tmp_path}")
    assert Counter(node["stage"] for node in more if node["state"] == "run") == {"toy_train": 2, "toy_probe": 1}


@pytest.mark.usefixtures("toys")
def test_a_member_that_fails_leaves_the_others_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("-m", *TOYS, "toy_train.limit=30", "toy_train.rate=2.0,3.0", "only=[Long]", f"store={tmp_path}")
    assert main(list(arguments)) == 1
    captured = capsys.readouterr()
    assert "toy_train/Long@rate=3.0: toy_train.limit=30.0: reached" in captured.err
    assert {node["label"]: node["state"] for node in nodes(capsys, *arguments)} == {
        "base": "done", "Long@rate=2.0": "done", "Long@rate=3.0": "failed",
    }  # fmt: skip


@pytest.mark.usefixtures("toys")
def test_a_longer_training_continues_the_same_members_shorter_one(tmp_path: Path) -> None:
    members = read(*TOYS, "toy_train.rate=2.0,3.0", f"store={tmp_path}")
    merged, graph = sweep.merge(members)
    assert merged.name == "toys@rate"
    assert graph.references == sum(member.graph.references for member in members)
    for rate in ("2.0", "3.0"):
        long = graph.variants[f"Long@rate={rate}"]["checkpoint"]
        assert isinstance(long, Node)
        assert [need.label for need in graph.waits_for(long)] == ["base", f"Short@rate={rate}"]


def objective(benchmark: str, *arguments: str) -> list[str]:
    """The command line of a search."""
    return [
        "-m",
        "+experiment=tiny_math",
        "hydra/sweeper=optuna",
        "rejuvenate.alpha=interval(0.3,0.6)",
        f"objective={{variant:Rejuvenation+RL,benchmark:{benchmark}}}",
        *arguments,
    ]


def test_an_objective_is_of_the_group_validation(capsys: pytest.CaptureFixture[str]) -> None:
    given = "objective={variant:Rejuvenation+RL,benchmark:tiny_sums}"
    (message,) = messages(capsys, "plan", "+experiment=tiny_math", given)
    assert message.startswith("objective.benchmark='tiny_sums': of the group ID; a search maximises a benchmark of")


def test_an_objective_names_what_is_there() -> None:
    given = "objective={variant:Rejuvenation+RL,benchmark:tiny_validation}"
    composed = config.compose(["+experiment=tiny_math", "benchmark=[tiny_validation]", "only=[ModSFT]", given])
    with pytest.raises(ConfigError, match="objective.variant='Rejuvenation\\+RL': not a variant"):
        experiment.read(composed.config, composed.overrides)


optuna = pytest.mark.skipif(
    importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper") is None,
    reason="Optuna is not installed: pip install -e '.[optuna]'",
)


@pytest.mark.slow
@optuna
def test_a_search_maximises_what_act_returns_and_asks_for_the_same_members_again() -> None:
    def search() -> tuple[list[float], str | None]:
        asked: list[float] = []

        def act(members: list[Composed], search: bool) -> list[float]:
            assert search and len(members) == 1
            alpha = float(members[0].values["rejuvenate.alpha"])
            asked.append(alpha)
            return [-((alpha - 0.4) ** 2)]

        return asked, config.sweep([*objective("tiny_validation")[1:], "hydra.sweeper.n_trials=12"], act)

    asked, results = search()
    assert len(asked) == 12 and all(0.3 <= alpha <= 0.6 for alpha in asked)
    best = min(asked, key=lambda alpha: abs(alpha - 0.4))
    assert results is not None and f"rejuvenate.alpha: {best}" in results
    assert search()[0] == asked


@optuna
@pytest.mark.parametrize("rate", ["0.0", "1.0"])
def test_a_member_without_a_score_fails_the_search(rate: str) -> None:
    with pytest.raises(config.Unscored):
        config.sweep(
            [*objective("tiny_validation")[1:], "hydra.sweeper.n_trials=2", f"hydra.sweeper.max_failure_rate={rate}"],
            lambda members, search: [None] * len(members),
        )


@optuna
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (objective("tiny_sums"), "objective.benchmark='tiny_sums': of the group ID"),
        (objective("tiny_validation", "objective=null"), "objective: has no value; a search needs one"),
        (objective("tiny_validation"), "objective.benchmark='tiny_validation': not a benchmark of this study"),
        (
            objective("tiny_validation", "hydra.sweeper.direction=minimize"),
            "hydra.sweeper.direction=minimize: a search",
        ),
        (["plan", *objective("tiny_sums", "objective=null")], "plan: a search chooses members by the scores"),
    ],
    ids=["test set", "none", "unknown", "minimised", "plan"],
)
def test_a_search_that_is_refused_runs_nothing(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors[0].startswith(f"error: {message}")
    assert not list(tmp_path.iterdir())


@optuna
@pytest.mark.slow
def test_a_search_over_a_real_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--json",
        "-m",
        "+experiment=smoke",
        "only=[ModSFT]",
        "benchmark=[tiny_validation]",
        "evaluate.engine=transformers",
        "hydra/sweeper=optuna",
        "hydra.sweeper.n_trials=2",
        "objective={variant:ModSFT,benchmark:tiny_validation}",
        "sft.learning_rate=interval(1e-4,1e-2)",
        f"store={tmp_path}",
    ]
    assert main(arguments) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["table"]) == 2 and all(row["tiny_validation"] for row in shown["table"].values())
    report = tmp_path / "reports" / "smoke@learning_rate"
    assert {file.name for file in report.iterdir()} == {
        "table.md",
        "table.csv",
        "scores.csv",
        "optimization_results.yaml",
    }
    assert len(list((tmp_path / "pretrain").glob("*/record.json"))) == 1
    assert len(list((tmp_path / "evaluate").glob("*/record.json"))) == 2
