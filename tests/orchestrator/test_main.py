"""The command line: exit codes, one message an error, JSON for scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import config, experiment
from orchestrator.__main__ import VERBS, main

ROOT = Path(__file__).parent.parent.parent


def messages(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The error messages of a command line that is wrong."""
    assert main(list(arguments)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("error: ") for line in lines), lines
    return [line.removeprefix("error: ") for line in lines]


def test_a_plan_for_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--json", "+experiment=tiny_math", f"store={tmp_path}"]) == 0
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    assert all(n.keys() >= {"stage", "label", "fingerprint", "state", "reason", "inputs", "path"} for n in nodes)
    stages = [node["stage"] for node in nodes]
    assert {name: stages.count(name) for name in set(stages)} == {
        "pretrain": 1, "sft": 2, "attribute": 1, "rejuvenate": 2, "grpo": 4, "evaluate": 32, "diagnose": 6,
        "contamination": 8,
    }  # fmt: skip


def fingerprints(capsys: pytest.CaptureFixture[str], store: Path, *overrides: str) -> dict[str, str]:
    main(["plan", "--json", "+experiment=tiny_math", f"store={store}", *overrides])
    nodes = json.loads(capsys.readouterr().out)["nodes"]
    return {f"{node['stage']}/{node['label']}": node["fingerprint"] for node in nodes}


def test_alpha_changes_what_it_reaches_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = fingerprints(capsys, tmp_path)
    after = fingerprints(capsys, tmp_path, "rejuvenate.alpha=0.6")
    changed = {name for name in before if before[name] != after[name]}
    assert {name.split(".")[0] for name in changed} == {
        "rejuvenate/Rejuvenation", "grpo/Rejuvenation+RL", "evaluate/Rejuvenation", "evaluate/Rejuvenation+RL",
        "rejuvenate/RandomReset", "grpo/RandomReset+RL", "evaluate/RandomReset", "evaluate/RandomReset+RL",
        "diagnose/Rejuvenation-base", "diagnose/Rejuvenation-OverSFT",
    }  # fmt: skip


def test_the_random_control_differs_in_which_neurons_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["plan", "--json", "+experiment=tiny_math", "seed=3", f"store={tmp_path}"])
    nodes = {f"{node['stage']}/{node['label']}": node for node in json.loads(capsys.readouterr().out)["nodes"]}
    control, repaired = nodes["rejuvenate/RandomReset"], nodes["rejuvenate/Rejuvenation"]
    assert control["inputs"] == repaired["inputs"]
    assert control["config"] == {**repaired["config"], "neurons": "random", "seed": 3}


@pytest.mark.parametrize(
    "override",
    ["cluster.default.per_device_batch=4", "cluster.default.graders=2", "cluster.cpus=1", "cluster=inline", "store=x"],
)
def test_how_and_where_it_runs_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    assert fingerprints(capsys, tmp_path) == fingerprints(capsys, tmp_path, override)


def test_a_cluster_that_names_an_unknown_stage(capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = messages(capsys, "plan", "+experiment=tiny_math", "+cluster.stages.sfd.cpus=2")
    assert message.startswith("cluster.stages.sfd: no such stage; did you mean 'sft'?")


def test_a_stage_needs_what_the_default_says_but_for_what_is_said_of_it() -> None:
    composed = config.compose(["+experiment=tiny_math", "cluster=gpu"])
    cluster = experiment.read(composed.config, composed.overrides).cluster
    assert (cluster.needs("pretrain").cpus, cluster.needs("pretrain").gpus) == (2, 1)
    assert (cluster.needs("sft").cpus, cluster.needs("sft").gpus) == (4, 1)


def test_classes_of_resources_that_stages_name() -> None:
    overrides = ["+experiment=tiny_math", "cluster=slurm", "+cluster.classes.train.partition=long"]
    composed = config.compose([*overrides, "cluster.stages.grpo={class: train, per_device_batch: 4}"])
    cluster = experiment.read(composed.config, composed.overrides).cluster
    sft, grpo, rejuvenate = (cluster.needs(stage) for stage in ("sft", "grpo", "rejuvenate"))
    assert (sft.gpus, sft.partition, sft.per_device_batch) == (8, "long", 8)
    assert (grpo.gpus, grpo.partition, grpo.per_device_batch) == (8, "long", 4)
    assert (rejuvenate.gpus, rejuvenate.cpus) == (0, 8)


def test_what_an_experiment_says_of_a_stage_adds_to_the_class_that_the_site_gives_it() -> None:
    def needs(stage: str, *overrides: str) -> tuple[int, int, float | None]:
        composed = config.compose(["+experiment=tiny_math", "cluster=slurm", *overrides])
        found = experiment.read(composed.config, composed.overrides).cluster.needs(stage)
        return found.cpus, found.gpus, found.memory

    assert needs("pretrain") == (2, 1, 96)  # of the experiment: cpus; of the site's class gpu: the rest
    assert needs("sft", "cluster.stages.sft={cpus: 3}") == (3, 8, 512)
    assert needs("sft", "cluster.stages.sft={class: cpu, cpus: 3}") == (3, 0, 32)
    assert needs("sft", "cluster.stages.sft={class: null, cpus: 3}") == (3, 0, 32)
    assert needs("sft", "cluster.stages.sft=gpu") == (8, 1, 96)


def test_a_class_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = messages(capsys, "plan", "+experiment=tiny_math", "cluster=slurm", "cluster.stages.sft=trian")
    assert message.startswith("cluster.stages.sft='trian': no such class of resources; did you mean 'train'?")


@pytest.mark.parametrize(
    ("chosen", "wrong"),
    [
        (
            "{gpus: 8, tensor_parallel: 3}",
            "tensor_parallel=3: does not divide cluster.stages.evaluate.gpus=8; allowed: 1,",
        ),
        ("{gpus: 4, tensor_parallel: 2, replicas: 3}", "replicas=3: with cluster.stages.evaluate.tensor_parallel=2"),
    ],
)
def test_gpus_that_cannot_be_shared_out_among_copies_of_a_model(
    capsys: pytest.CaptureFixture[str], chosen: str, wrong: str
) -> None:
    cluster = ["cluster=slurm", f"cluster.stages.evaluate={chosen}"]
    (message,) = messages(capsys, "plan", "+experiment=tiny_math", *cluster)
    assert message.startswith(f"cluster.stages.evaluate.{wrong}")


@pytest.mark.parametrize(
    ("chosen", "wrong"),
    [
        ("{gpus: 8, rollout_gpus: 2}", "rollout_gpus=2: has no effect with cluster.stages.grpo.rollouts=colocate; set"),
        ("{gpus: 8, rollouts: server}", "rollouts=server: has no GPU of its own; set cluster.stages.grpo.rollout_gpus"),
        ("{gpus: 8, rollouts: server, rollout_gpus: 8}", "rollout_gpus=8: leaves no GPU to train on; allowed: below"),
        (
            "{gpus: 8, nodes: 2, rollouts: server, rollout_nodes: 2}",
            "rollout_nodes=2: leaves no machine to train on; allowed: below cluster.stages.grpo.nodes=2",
        ),
        (
            "{gpus: 8, nodes: 2, rollouts: server, rollout_nodes: 1, rollout_gpus: 2}",
            "rollout_gpus=2: has no effect beside cluster.stages.grpo.rollout_nodes=1, machines that serve with all",
        ),
        (
            "{gpus: 8, rollouts: server, rollout_gpus: 3, tensor_parallel: 2}",
            "tensor_parallel=2: does not divide cluster.stages.grpo.rollout_gpus=3, the GPUs of the rollout server",
        ),
    ],
)
def test_a_rollout_server_has_gpus_and_leaves_some(capsys: pytest.CaptureFixture[str], chosen: str, wrong: str) -> None:
    (message,) = messages(capsys, "plan", "+experiment=tiny_math", "cluster=slurm", f"cluster.stages.grpo={chosen}")
    assert message.startswith(f"cluster.stages.grpo.{wrong}")


def test_a_rollout_server_on_a_machine_without_gpus_needs_none(tmp_path: Path) -> None:
    chosen = "cluster.stages.grpo={rollouts: server}"
    assert main(["plan", "+experiment=tiny_math", "grpo.engine=vllm", f"store={tmp_path}", "+" + chosen]) == 0


def test_a_time_limit_that_leaves_no_time(capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = messages(capsys, "plan", "+experiment=tiny_math", "cluster=slurm", "+cluster.classes.cpu.time=2")
    assert message.startswith("cluster.stages.rejuvenate.time=2: minutes; a job is told to save and stop 120 s")


def test_all_errors_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    found = messages(
        capsys, "plan", "+experiment=tiny_math", "sft.lr=1", "sft.batch=x", "rejuvenate.alpha=3", "attribute.samples=0"
    )
    assert found[0].startswith("sft.lr=1: no such key")
    assert "rejuvenate.alpha=3: input should be less than or equal to 1" in found
    assert "attribute.samples=0: input should be greater than or equal to 1" in found
    assert any(message.startswith("sft.batch='x': ") for message in found)


def test_rho_above_what_was_kept(capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = messages(capsys, "plan", "+experiment=tiny_math", "rejuvenate.rho=0.2")
    assert message == "rejuvenate.rho=0.2: above attribute.keep=0.1; raise attribute.keep"


def test_an_override_that_has_no_effect(capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = messages(capsys, "plan", "+experiment=tiny_math", "sft.epochs=3")
    assert message == "sft.epochs=3: has no effect; every variant or benchmark pins it (32, 4)"


def test_unknown_names_say_what_is_allowed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "allowed:" in messages(capsys, "+experiment=tiny_maths")[0]
    assert "allowed:" in messages(capsys, "plan", "+experiment=tiny_math", "benchmark=[gsm9k]")[0]
    assert messages(capsys, "plan", "+experiment=tiny_math", "only=[ModSFTT]")[0].startswith(
        "only: 'ModSFTT' is not a variant; did you mean 'ModSFT'?"
    )
    assert messages(capsys, "plan", "+experiment=tiny_math", "cluster=null")[0].startswith(
        "cluster=null: no such cluster"
    )
    added = "diagnoses={SFT:{checkpoint:ModSFT,reference:base}}"
    assert messages(capsys, "plan", "+experiment=smoke", added) == [
        f"{added}: adds what is not there; say so: '+{added}'"
    ]
    assert "neither a verb" in messages(capsys, "plam", "+experiment=tiny_math")[0]


@pytest.mark.parametrize("path", ["/data/a,b", "/data/{a}", "/data/(a"])
def test_a_path_that_hydra_would_take_apart_shows_the_quoting(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    (message,) = messages(capsys, "plan", "+experiment=rejuvenate", f"store={path}")
    assert """'base="/a=b,c"'""" in message


def test_a_quoted_path_may_have_anything_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = tmp_path / "a=b,c d"
    assert main(["plan", "--json", "+experiment=tiny_math", f'store="{odd}"']) == 0
    assert str(odd) in json.loads(capsys.readouterr().out)["nodes"][0]["path"]


def test_a_store_that_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (message,) = messages(capsys, "+experiment=tiny_math", f"store={tmp_path}/file/store")
    assert message.startswith(f"store={tmp_path}/file/store: {tmp_path}/file is a file; allowed: a folder")


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):  # Hydra's own
        main(["--help"])
    words = capsys.readouterr().out.partition("==")[0].replace(",", " ").split()
    assert set(VERBS) <= set(words)


def test_what_others_have_named_is_only_text_in_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "experiment").mkdir()
    hostile = '# @package _global_\nname: bad\nbase: "/nowhere"\nvariants: {"\\e[31mred": [nothing]}\n'
    (tmp_path / "experiment" / "bad.yaml").write_text(hostile)
    assert main(["plan", "+experiment=bad", f"hydra.searchpath=[file://{tmp_path}]"]) == 2
    said = capsys.readouterr().err
    assert "<U+001B>[31mred" in said and "\x1b" not in said


def test_hydra_itself_still_answers() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "orchestrator", "+experiment=tiny_math", "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert "rejuvenate:\n  alpha: 0.5" in done.stdout
