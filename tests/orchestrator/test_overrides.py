# ruff: noqa: E501
"""What is wrong with a command line, or with the files that it chooses: one message that says which and what is meant."""

import json
from pathlib import Path

import pytest

from orchestrator import confusable, yaml_file
from orchestrator.__main__ import main

HEAD = "# @package _global_\ndefaults:\n  - tiny_math\n  - _self_\n"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (HEAD + "name: a\nname: b\n", 6, "found duplicate key name"),
        (HEAD + "wandb:\n\tmode: offline\n", 6, "a tab; YAML is indented by spaces"),
        (HEAD + "name: [a\nseed: 1\n", 6, "expected ',' or ']'"),
        (HEAD + "question: what: is this\n", 5, "mapping values are not allowed here"),
        (HEAD + "---\nname: b\n", 5, "but found another document"),
        (HEAD + "name: !!python/object/apply:os.system ['true']\n", 5, "could not determine a constructor"),
        ("# @package _global_\n- tiny_math\n", 2, "a sequence; a config is a mapping of keys to values"),
        ((HEAD + "question: caf\u00e9\n").encode("latin-1"), 5, "no UTF-8 text (byte 0xe9); save it as UTF-8"),
        (HEAD.encode("utf-16"), 1, "no UTF-8 text (byte 0xff); save it as UTF-8"),
        ("\ufeff" + HEAD, 1, "begins with a byte order mark"),
        (HEAD + "a: &a [*a]\n", None, "an anchor that contains itself"),
        (HEAD + "x0: &x0 [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
            f"x{n}: &x{n} [{','.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 8)), None, "its anchors expand to"),
        (HEAD + "name: a\0b\n", None, "unacceptable character #x0000"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_config(
    text: str | bytes, line: int | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "conf" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    place = f"+experiment=mine: {file}{'' if line is None else f', line {line}: '}"
    search = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
    assert main(["plan", "+experiment=mine", search, f"store={tmp_path / 'store'}"]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert message.startswith(f"error: {place}") and said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD.replace("# @package _global_\n", "") + "name: mine\n", "experiment: the file of this experiment has no line `# @package _global_`"),
        ("name: mine\n", "experiment: the file of this experiment has no line `# @package _global_`"),
        (HEAD.replace("tiny_math", "tiny_mat"), "names experiment=tiny_mat: no such experiment; did you mean 'tiny_math'?"),
        (HEAD.replace("  - _self_", "  - override /benchmark: [tiny_sum]\n  - _self_"),
         "names benchmark=tiny_sum: no such benchmark; did you mean 'tiny_sums'?"),
        (HEAD.replace("  - _self_", "  - /stf: tiny\n  - _self_"), "names stf=tiny: no such group of configs; did you mean 'sft'?"),
        (HEAD + "variant: {}\n", "variant: no such key; did you mean 'variants'?"),
    ],
)  # fmt: skip
def test_a_file_that_says_what_is_not_there(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    assert main(["plan", "+experiment=mine", f"hydra.searchpath=[file://{tmp_path}]", f"store={tmp_path / 's'}"]) == 2
    assert said in capsys.readouterr().err


def test_an_experiment_of_the_search_path_is_planned_and_meant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(HEAD + "name: mine\n")
    words = [f"hydra.searchpath=[file://{tmp_path}]", f"store={tmp_path / 's'}"]
    assert main(["plan", "+experiment=mine", *words]) == 0
    assert main(["plan", "+experiment=mne", *words]) == 2
    assert "+experiment=mne: no such experiment; did you mean 'mine'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("plna +experiment=smoke", "plna: neither a verb (run, plan,"),
        ("plna +experiment=smoke", "; did you mean 'plan'?"),
        ("+experiment=smoke plan", "plan: a verb is the first word of a command line, and there is one"),
        ("plan --jsn +experiment=smoke", "--jsn: not a flag of plan, which has"),
        ("plan --jsn +experiment=smoke", "; did you mean '--json'?"),
        ("plan +experiment=smoke +experiment=tiny_math", "+experiment=tiny_math: +experiment=smoke chooses experiment already"),
        ("plan experiment=smoke", "experiment=smoke: no experiment is chosen yet that it could replace; say so: '+experiment=smoke'"),
        ("plan +experiments=smoke", "experiments='smoke': no such key, and no such group; did you mean '+experiment=smoke'?"),
        ("plan +experiment=smoke stf.epochs=3", "stf.epochs=3: no such key 'stf'; did you mean 'sft'?"),
        ("plan +experiment=smoke +sft.batch=3", "+sft.batch=3: sft.batch is there already; set it without +: 'sft.batch=3'"),
        ("plan +experiment=smoke base={a:b}", "base={a:b}: the config has a list here, and this is none; allowed: a list"),
        ("plan +experiment=smoke benchmark=[null]", "benchmark=[null]: null is no name; allowed: names of conf/benchmark, or []"),
        ("plan +experiment=smoke hydra.searchpath=[/nowhere]", "hydra.searchpath=/nowhere: no such folder; allowed: file:///FOLDER"),
        ("plan +experiment=smoke only=[modsft]", "only: 'modsft' is not a variant; did you mean 'ModSFT'?"),
        ("plan +exp\u0435riment=smoke", "it has U+0435 CYRILLIC SMALL LETTER IE, which looks like 'e'"),
        ("plan +experiment\uff1dsmoke", "it has U+FF1D FULLWIDTH EQUALS SIGN, which looks like '='"),
        ("plan \u2013\u2013json +experiment=smoke", "it has U+2013 EN DASH, which looks like '-'"),
        ("plan +experiment=smoke only=[\u201cModSFT\u201d]", "it has U+201C LEFT DOUBLE QUOTATION MARK, which looks like '\"'"),
        ("plan +experiment=smoke\u200b", "it has U+200B ZERO WIDTH SPACE, which cannot be seen"),
        ("plan +experiment=smoke seed=" + "9" * 5000, ": not of the form key=value"),
        ("plan +experiment=smoke name=..", "name='..': is no name but another folder; allowed: a name that has more than dots"),
    ],
)  # fmt: skip
def test_a_careless_command_line(words: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words.split(" "), f"store={tmp_path / 'store'}"]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_text_of_any_language_has_nothing_confusable() -> None:
    assert [confusable.said(text) for text in ("überprüft", "日本語", "naïve café", "alpha=0.5", "答案是 B")] == [
        ""
    ] * 5


def test_our_own_files_are_configs() -> None:
    (root,) = yaml_file.roots([])
    assert [defect for file in root.rglob("*.yaml") if (defect := yaml_file.defect(file)) is not None] == []


def test_hydra_shows_no_traceback_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--json", "--cfg", "job", "+experiment=smoke", "sft.btach=3"]) == 2
    assert json.loads(capsys.readouterr().out)["errors"][0].startswith(
        "sft.btach=3: no such key; did you mean 'batch'?"
    )
