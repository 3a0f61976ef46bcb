"""A colleague's config is data: it reads no secret of the reader, calls nothing, and keeps no URL with a password."""

import json
import os
from pathlib import Path

import pytest

from orchestrator import guard
from orchestrator.__main__ import main

HEAD = "# @package _global_\ndefaults:\n  - smoke\n  - _self_\n"


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "WANDB_API_KEY", "LAB_PASSWORD"):
        monkeypatch.setenv(name, "hunter2")
    monkeypatch.setenv("SCRATCH", "/scratch/me")


def act(tmp_path: Path, text: str, *words: str, verb: str = "plan") -> int:
    (tmp_path / "conf" / "experiment").mkdir(parents=True, exist_ok=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(HEAD + text)
    search = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
    return main([verb, *words, "+experiment=mine", search, f"store={tmp_path / 'store'}"])


@pytest.mark.parametrize(
    ("text", "variable"),
    [
        ("question: '${oc.env:HF_TOKEN}'", "HF_TOKEN"),
        ("question: 'see ${oc.env:WANDB_API_KEY,none} there'", "WANDB_API_KEY"),
        ("question: '${oc.env:${protocol}}'\nprotocol: LAB_PASSWORD", "LAB_PASSWORD"),
        ("question: '${oc.env:HF_${protocol}}'\nprotocol: TOKEN", "HF_TOKEN"),
        ("question: '${oc.env:NOT_SET,${oc.env:HF_TOKEN}}'", "HF_TOKEN"),
        ("question: '${oc.decode:${protocol}}'\nprotocol: '\\${oc.env:HF_TOKEN}'", "HF_TOKEN"),
        ("question: '${oc.env:ABSENT_TOKEN,x}'", "ABSENT_TOKEN"),
        ("variants: {A: [{sft: {epochs: '${oc.env:HF_TOKEN}'}}]}", "HF_TOKEN"),
        ("cluster: {default: {sbatch: {comment: '${oc.env:HF_TOKEN}'}}}", "HF_TOKEN"),
        ("cluster: '${oc.create:{launcher: \"${oc.env:HF_TOKEN}\"}}'", "HF_TOKEN"),
    ],
)
def test_no_secret_of_the_environment_is_read(
    text: str, variable: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert act(tmp_path, text) == 2
    said = capsys.readouterr().err
    assert f"${{oc.env:{variable}}}: the name of this variable says that it holds a secret" in said
    assert "hunter2" not in said and len(said.splitlines()) == 1


def test_the_command_line_reads_none_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert act(tmp_path, "", "question='${oc.env:HF_TOKEN}'") == 2
    assert "error: question: ${oc.env:HF_TOKEN}: the name" in capsys.readouterr().err
    assert act(tmp_path, "", "-m", "question='${oc.env:HF_TOKEN}'", "seed=1,2") == 2
    assert "hunter2" not in (said := capsys.readouterr().err) and "${oc.env:HF_TOKEN}: the name" in said


def test_what_is_no_secret_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "question: '${oc.env:SCRATCH} ${oc.env:HOME} ${oc.env:SLURM_JOB_ID,none} ${oc.decode:\"3\"}'"
    assert act(tmp_path, text, "--cfg", "job", "--resolve", verb="plan") == 0
    assert f"question: /scratch/me {os.environ['HOME']} none 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hydra: {callbacks: {x: {_target_: os.system, command: 'touch CANARY'}}}",
         "hydra.callbacks.x._target_='os.system'"),
        ("hydra: {callbacks: {x: {_target_: mine.Callback}}}", "hydra.callbacks.x._target_='mine.Callback'"),
        ("hydra: {callbacks: {x: {_target_: '${protocol}'}}}\nprotocol: os.system", "_target_='${protocol}'"),
        ("hydra: {callbacks: '${template}'}\ntemplate: {x: {_target_: mine.Callback}}", "hydra.callbacks: a mapping"),
        ("hydra: {callbacks: {x: '${template}'}}\ntemplate: {_target_: mine.Callback}", "hydra.callbacks.x: a mapping"),
        ("hydra: {callbacks: '${oc.create:${template.a}}'}\ntemplate: {a: '{x: {_target_: mine.Callback}}'}",
         "hydra.callbacks: a mapping"),
        ("hydra: {launcher: {_target_: optuna.samplers._base.os.system}}", "hydra.launcher._target_="),
        ("hydra: {sweeper: {_target_: subprocess.run}}", "hydra.sweeper._target_='subprocess.run'"),
        ("hydra: {hydra_logging: {root: {level: INFO}, handlers: {f: {class: logging.FileHandler, filename: CANARY}}}}",
         "hydra.hydra_logging.handlers: a config is data, and this opens files"),
        ("hydra: {job_logging: {handlers: {f: {(): os.system, command: 'touch CANARY'}}}}",
         "hydra.job_logging.handlers.f.()="),
    ],
)  # fmt: skip
@pytest.mark.parametrize("words", [(), ("-m", "seed=1,2"), ("--cfg", "job")], ids=["plan", "sweep", "hydra"])
def test_a_config_calls_nothing(
    text: str, said: str, words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert act(tmp_path, text.replace("CANARY", str(tmp_path / "canary")), *words) == 2
    assert f"error: {said}" in (err := capsys.readouterr().err) or said in err
    assert not (tmp_path / "canary").exists() and not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "text",
    [
        "question: {_target_: os.system, command: 'touch CANARY'}",
        "base: {_target_: os.system, command: 'touch CANARY'}",
        "base: [{_target_: os.system, command: 'touch CANARY'}]",
        "problems: {_target_: os.system, command: 'touch CANARY'}",
    ],
)
def test_what_hydra_would_call_elsewhere_is_text(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert act(tmp_path, text.replace("CANARY", str(tmp_path / "canary"))) == 2
    assert not (tmp_path / "canary").exists()


def test_a_file_that_another_starts_from_does_not_fill_the_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bomb = tmp_path / "conf" / "experiment" / "bomb.yaml"
    bomb.parent.mkdir(parents=True)
    lines = [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}' if n else '1'] * 10)}]\n" for n in range(10)]
    bomb.write_text("# @package _global_\n" + "".join(lines))
    with_bomb = HEAD.replace("  - _self_\n", "  - bomb\n  - _self_\n")
    (bomb.parent / "other.yaml").write_text(with_bomb)
    search = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
    assert main(["plan", "+experiment=other", search, f"store={tmp_path / 'store'}"]) == 2
    assert f"+experiment=other: {bomb}, line 2: its anchors expand to" in capsys.readouterr().err


def test_what_a_plugin_registers_and_what_the_command_line_types_are_called(tmp_path: Path) -> None:
    found = {text for _, text in guard.registered()}
    assert "hydra_plugins.orchestrator_sweep.launcher.OrchestratorLauncher" in found and "os.system" not in found
    typed = "+hydra.callbacks.x._target_=hydra.experimental.callback.Callback"
    assert act(tmp_path, "", "-m", "seed=1,2", "only=[ModSFT]", typed) == 0


@pytest.mark.parametrize(
    "word",
    ['base="https://user:hunter2@host/x"', 'question="https://h/?token=hunter2"', "=https://u:hunter2@h", "https://u:hunter2@h",
     "--x=https://u:hunter2@h", 'question="https://hooks.slack.com/services/T/B/hunter2"'],
)  # fmt: skip
def test_a_url_with_a_secret_is_refused_and_not_repeated(
    word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("plan", "run", "logs", "gc"):
        assert main([verb, "--json", "+experiment=smoke", word, f"store={tmp_path / 'store'}"]) == 2
        seen = capsys.readouterr()
        assert "***" in seen.err and "belong" in seen.err and "hunter2" not in seen.err + seen.out
        assert len(json.loads(seen.out)["errors"]) == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("base: https://user:hunter2@host/x", "base="),
        ("protocol: 'see https://h/?api_key=hunter2 there'", "protocol="),
        ("problems: {path: 'https://user:hunter2@host/x'}", "problems.path="),
        ("base: 'https://${name}:hunter2@host/x'", "base="),
        ("variants: {'https://user:hunter2@h': [{sft: {epochs: 4}}]}", "variants.https://"),
        ("cluster: {default: {sbatch: {comment: 'https://user:hunter2@h'}}}", "cluster.default.sbatch.comment="),
    ],
)
def test_a_config_with_a_secret_in_a_url_is_refused_and_not_repeated(
    text: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert act(tmp_path, text, verb="run") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {key}") and "***" in said and "hunter2" not in said
    assert not (tmp_path / "store").exists()
