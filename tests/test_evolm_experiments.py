"""The paper's mathematics study as four experiments: what each has, what they share, and where they run."""

from __future__ import annotations

import io
import json
from collections import Counter
from contextlib import redirect_stdout
from typing import Any

import pytest

from orchestrator import config, experiment, report
from orchestrator.__main__ import main
from orchestrator.document import paper
from tests.orchestrator.test_main import messages

EXPERIMENTS = ("evolm_math", "evolm_alpha", "evolm_rho", "evolm_checkpoints")
BENCHMARKS, SETS = 13, 10  # three sets of problems are asked and graded in two ways

Nodes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Nodes]:
    """Experiment -> its nodes, by `stage/label`; planned without a hub."""
    store = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        return {name: plan(f"+experiment={name}", f"store={store}") for name in EXPERIMENTS}


def plan(*arguments: str) -> Nodes:
    with redirect_stdout(io.StringIO()) as shown:
        assert main(["plan", "--json", *arguments]) == 0
    return {f"{node['stage']}/{node['label']}": node for node in json.loads(shown.getvalue())["nodes"]}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("evolm_math", {"sft": 4, "attribute": 1, "rejuvenate": 3, "grpo": 7, "evaluate": 14, "diagnose": 9}),
        ("evolm_alpha", {"sft": 1, "rejuvenate": 5, "grpo": 5, "evaluate": 5}),
        ("evolm_rho", {"sft": 1, "attribute": 1, "rejuvenate": 4, "grpo": 4, "evaluate": 4}),
        ("evolm_checkpoints", {"sft": 6, "attribute": 6, "rejuvenate": 6, "grpo": 12, "evaluate": 24}),
    ],
)
def test_what_each_experiment_has(plans: dict[str, Nodes], name: str, expected: dict[str, int]) -> None:
    """Evaluations are counted in checkpoints, each on all benchmarks; contamination is searched in both data sets."""
    every = {**expected, "evaluate": expected["evaluate"] * BENCHMARKS, "contamination": 2 * SETS}
    assert Counter(node["stage"] for node in plans[name].values()) == every


def test_what_all_of_them_have_together(plans: dict[str, Nodes]) -> None:
    union = {node["fingerprint"]: node["stage"] for nodes in plans.values() for node in nodes.values()}
    epochs, alphas, other_rhos, dft, control = 6, 5, 3, 1, 1
    after_rl = 2 * epochs + alphas + other_rhos + dft + control  # each number of epochs without and with rejuvenation
    before_rl = 2 * epochs + 1 + dft + control  # and one fusion
    assert Counter(union.values()) == {
        "sft": epochs + dft,
        "attribute": epochs,  # alphas and rhos need no others
        "rejuvenate": epochs + alphas + other_rhos + control,
        "grpo": after_rl,
        "evaluate": (before_rl + after_rl) * BENCHMARKS,
        "diagnose": 9,
        "contamination": 2 * SETS,
    }


#: The same node under the labels that it has in several experiments.
SHARED = [
    ("sft", ["evolm_math/UnderSFT", "evolm_checkpoints/SFT-1"]),
    ("sft", ["evolm_math/ModSFT", "evolm_checkpoints/SFT-2"]),
    (
        "sft",
        [
            "evolm_math/OverSFT",
            "evolm_alpha/Fusion-0.4+RL",
            "evolm_rho/Rejuvenation-0.005+RL",
            "evolm_checkpoints/SFT-32",
        ],
    ),
    (
        "attribute",
        ["evolm_math/Rejuvenation", "evolm_rho/Rejuvenation-0.005+RL", "evolm_checkpoints/SFT-32+Rejuvenation"],
    ),
    ("rejuvenate", ["evolm_math/Fusion", "evolm_alpha/Fusion-0.5+RL"]),
    (
        "rejuvenate",
        ["evolm_math/Rejuvenation", "evolm_rho/Rejuvenation-0.01+RL", "evolm_checkpoints/SFT-32+Rejuvenation"],
    ),
    ("grpo", ["evolm_math/UnderSFT+RL", "evolm_checkpoints/SFT-1+RL"]),
    ("grpo", ["evolm_math/ModSFT+RL", "evolm_checkpoints/SFT-2+RL"]),
    ("grpo", ["evolm_math/OverSFT+RL", "evolm_checkpoints/SFT-32+RL"]),
    ("grpo", ["evolm_math/Fusion+RL", "evolm_alpha/Fusion-0.5+RL"]),
    (
        "grpo",
        ["evolm_math/Rejuvenation+RL", "evolm_rho/Rejuvenation-0.01+RL", "evolm_checkpoints/SFT-32+Rejuvenation+RL"],
    ),
    ("evaluate", ["evolm_math/Fusion+RL.gsm8k", "evolm_alpha/Fusion-0.5+RL.gsm8k"]),
    ("evaluate", ["evolm_math/ModSFT.math500", "evolm_checkpoints/SFT-2.math500"]),
    ("contamination", [f"{name}/gsm8k.demonstrations" for name in EXPERIMENTS]),
]


@pytest.mark.parametrize(("stage", "labels"), SHARED, ids=lambda each: each if isinstance(each, str) else each[0])
def test_a_common_node_is_one_node(plans: dict[str, Nodes], stage: str, labels: list[str]) -> None:
    parts = [label.partition("/") for label in labels]
    assert len({plans[name][f"{stage}/{label}"]["fingerprint"] for name, _, label in parts}) == 1


def test_table_1_has_what_its_columns_need(plans: dict[str, Nodes]) -> None:
    """Training loss and entropy are summed up by SFT, the entropy of the end by a diagnosis; the gap is MATH-500's."""
    for variant in ("UnderSFT", "ModSFT", "OverSFT"):
        assert {f"sft/{variant}", f"diagnose/{variant}-base", f"evaluate/{variant}.math500"} <= plans[
            "evolm_math"
        ].keys()
    assert plans["evolm_math"]["evaluate/ModSFT.math500"]["config"]["k"] == 4  # a gap to pass@4


#: OOD sets as the paper grades them, and the same sets with a boxed letter, which are ours.
OFFICIAL = {"gpqa_official": "gpqa", "arc_chat": "arc", "mmlu_pro_5shot": "mmlu_pro"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_ood_average_is_of_the_official_graders_and_boxed_letters_stand_apart(name: str) -> None:
    composed = config.compose([f"+experiment={name}"])
    read = experiment.read(composed.config, composed.overrides)
    columns = report.columns_of(read)
    assert columns["OOD avg"] == [*OFFICIAL]
    assert {read.benchmarks[boxed].group for boxed in OFFICIAL.values()} == {"extra"}
    assert [paper.column(each) for each in OFFICIAL] == ["GPQA", "ARC", "MMLU"]
    assert [paper.column(each) for each in OFFICIAL.values()] == [*OFFICIAL.values()]  # no published number beside them
    kinds = {each: read.benchmarks[each].evaluate["kind"] for each in (*OFFICIAL, *OFFICIAL.values())}
    assert kinds == dict(zip(kinds, ["gpqa", "arc", "mmlu_pro", "letter", "letter", "letter"], strict=True))


@pytest.mark.parametrize("boxed", OFFICIAL.values())
def test_a_boxed_set_alone_is_in_the_ood_average_of_any_other_study(boxed: str) -> None:
    composed = config.compose(["+experiment=tiny_math", f"benchmark=[tiny_sums,{boxed}]"])
    assert report.columns_of(experiment.read(composed.config, composed.overrides))["OOD avg"] == [boxed]


def test_the_alphas_are_without_reset_and_the_rhos_at_one_alpha(plans: dict[str, Nodes]) -> None:
    def made(name: str) -> list[tuple[float, float]]:
        found = [node["config"] for node in plans[name].values() if node["stage"] == "rejuvenate"]
        return [(each["alpha"], each["rho"]) for each in found]

    assert sorted(made("evolm_alpha")) == [(0.4, 0.0), (0.45, 0.0), (0.5, 0.0), (0.55, 0.0), (0.6, 0.0)]
    assert sorted(made("evolm_rho")) == [(0.5, 0.005), (0.5, 0.01), (0.5, 0.02), (0.5, 0.04)]


def test_what_they_share_is_no_study_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = messages(capsys, "plan", "+recipe=evolm")
    assert message.startswith("variants: there are none; choose an experiment")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_cluster_of_the_command_line_wins(name: str) -> None:
    composed = config.compose([f"+experiment={name}", "cluster=slurm"])
    cluster = experiment.read(composed.config, composed.overrides).cluster
    assert cluster.launcher == "slurm"
    for stage in ("sft", "grpo"):
        needs = cluster.needs(stage)
        assert (needs.nodes, needs.gpus, needs.sharding, needs.per_device_batch) == (1, 8, "fsdp2", 8)
    assert [cluster.needs(stage).gpus for stage in ("evaluate", "attribute", "rejuvenate", "contamination")] == [
        1,
        1,
        0,
        0,
    ]


def test_without_a_word_about_the_cluster_training_takes_the_gpus_of_this_machine() -> None:
    composed = config.compose(["+experiment=evolm_math"])
    cluster = experiment.read(composed.config, composed.overrides).cluster
    assert cluster.launcher == "local"
    assert [(cluster.needs(stage).gpus, cluster.needs(stage).sharding) for stage in ("sft", "grpo")] == [
        (8, "fsdp2")
    ] * 2
    assert [cluster.needs(stage).gpus for stage in ("evaluate", "attribute", "rejuvenate")] == [1, 1, 0]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_nothing_of_how_it_runs(name: str) -> None:
    assert (
        config.compose([f"+experiment={name}", "cluster=slurm"]).config["cluster"]
        == (config.compose(["cluster=slurm"]).config["cluster"])
    )
