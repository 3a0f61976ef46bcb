"""Names and cluster strings of a config: what hides, ends a line or is a folder is refused with key and value."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from launch import naming, slurm
from launch.job import Allocation
from launch.slurm import Refused, Submission
from launch.snapshot import Snapshot
from orchestrator.__main__ import main

HEAD = "# @package _global_\ndefaults:\n  - tiny_math\n  - _self_\n"

#: Text -> what a message says of it.
HOSTILE = {
    "newline": ("x\n#SBATCH --wrap='touch canary'", "U+000A"),
    "return": ("x\rtouch canary", "U+000D"),
    "escape": ("x\x1b[2J", "U+001B"),
    "line separator": ("x\u2028touch canary", "U+2028 LINE SEPARATOR"),
    "next line": ("x\x85touch canary", "U+0085"),
    "right to left": ("x\u202elmth.exe", "U+202E RIGHT-TO-LEFT OVERRIDE"),
    "isolate": ("x\u2067y", "U+2067"),
    "zero width": ("Mod\u200bSFT", "U+200B ZERO WIDTH SPACE"),
    "filler": ("x\u3164", "U+3164 HANGUL FILLER"),
    "tab": ("x\ty", "U+0009"),
}

CODE = Snapshot(folder=Path("/"), digest="")
INJECTED = "x\n#SBATCH --wrap=x"
CHAIN = [{"sft": {"epochs": 4}}]


def plan(
    tmp_path: Path, more: dict[str, Any], capsys: pytest.CaptureFixture[str], *words: str
) -> tuple[int, list[str]]:
    """Plan an experiment whose file says more; exit code and lines of standard error."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True, exist_ok=True)
    file = tmp_path / "conf" / "experiment" / "mine.yaml"
    file.write_text(HEAD + yaml.safe_dump(more, allow_unicode=False))
    search = f"hydra.searchpath=[file://{tmp_path / 'conf'}]"
    code = main(["plan", "+experiment=mine", search, f"store={tmp_path / 'store'}", *words])
    return code, capsys.readouterr().err.splitlines()


def test_a_text_that_hides_or_ends_a_line_is_no_name_and_no_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [text for text, _ in HOSTILE.values()]
    classes = {f"c{number}": {"partition": text} for number, text in enumerate(texts)}
    hostile = {"variants": dict.fromkeys(texts, CHAIN), "cluster": {"classes": classes}}
    code, lines = plan(tmp_path, hostile, capsys)
    assert code == 2 and len(lines) == 2 * len(HOSTILE)
    for number, (text, said) in enumerate(HOSTILE.values()):
        for key in ("variants", f"cluster.classes.c{number}.partition"):
            assert [line for line in lines if line.startswith(f"error: {key}={text!r}: has {said}")], (key, lines)
    assert not (tmp_path / "store").exists()


def test_every_name_and_every_cluster_string_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = ("partition", "account", "qos", "constraint", "gres")
    options = ("comment", "reservation", "mail-user", "nodelist", "export", "container-image", "of-a-plugin")
    hostile = {
        "variants": {INJECTED: CHAIN},
        "diagnoses": {INJECTED: {"checkpoint": "OverSFT", "reference": "base"}},
        "differences": {INJECTED: {"variant": "OverSFT", "reference": "ModSFT"}},
        "benchmark": {INJECTED: "${benchmark.tiny_sums}"},
        "template": {INJECTED: "x"},
        "wandb": {"project": "x\u2028y"},  # what lies below U+0020 is nothing for W&B in any case
        "cluster": {
            "default": {**{name: f"{name} {INJECTED}" for name in fields}, "sbatch": {}},
            "classes": {INJECTED: {"cpus": 1}},
            "stages": {"sft": {"sbatch": {name: f"{name} {INJECTED}" for name in options}}},
        },
    }
    code, lines = plan(tmp_path, hostile, capsys)
    names = ("variants", "diagnoses", "differences", "benchmark", "template", "cluster.classes")
    keys = [f"{key}='x\\n#SBATCH --wrap=x'" for key in names]
    keys += [f"cluster.default.{name}='{name} x\\n#SBATCH --wrap=x'" for name in fields]
    keys += [f"cluster.stages.sft.sbatch.{name}='{name} x\\n#SBATCH --wrap=x'" for name in options]
    expected = {*(f"error: {key}: has U+000A" for key in keys), "error: wandb.project='x\\u2028y': has U+2028"}
    assert code == 2 and {line.partition(",")[0] for line in lines} == {
        each + (" LINE SEPARATOR" if "2028" in each else "") for each in expected
    }


def test_what_is_no_name_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = {
        "name": "..",
        "variants": dict.fromkeys(["..", "", "ModSFT "], CHAIN),
        "benchmark": {"..": "${benchmark.tiny_sums}"},
        "cluster": {
            "default": {"partition": "-x", "account": "", "sbatch": {"x\ny": 1, "comment=a --wrap": "x"}},
            "classes": {"c": {"sbatch": {"comment": "x" * 5000}}},
        },
    }
    code, lines = plan(tmp_path, hostile, capsys)
    assert code == 2 and {line.partition(";")[0] for line in lines} == {
        "error: name='..': is no name but another folder",
        "error: variants='..': is no name but another folder",
        "error: variants='': is empty",
        "error: variants='ModSFT ': begins or ends with a space, which cannot be seen",
        "error: benchmark='..': is no name but another folder",
        "error: cluster.default.partition='-x': begins with -, as an option does",
        "error: cluster.default.account='': is empty",
        "error: cluster.default.sbatch='x\\ny': is no option",
        "error: cluster.default.sbatch='comment=a --wrap': is no option",
        f"error: cluster.classes.c.sbatch.comment='{'x' * 199}... (5,002 characters): 5,000 bytes of UTF-8",
    }


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"name": "a/b"}, "name='a/b': string should match pattern"),
        ({"name": "a\nb"}, "name='a\\nb': string should match pattern"),
        ({"variants": {"v" * 300: CHAIN}}, "300 bytes of UTF-8, and artifacts and logs"),
        ({"store": "s\ntouch canary"}, "store='s\\ntouch canary': has U+000A"),
    ],
)
def test_what_is_refused_elsewhere_has_its_key(
    more: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = plan(tmp_path, more, capsys, *([f'store="{more["store"]}"'] if "store" in more else []))
    assert code == 2 and [line for line in lines if said in line], lines


def test_a_store_with_a_nul_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "+experiment=tiny_math", f'store="{tmp_path}/a\0b"']) == 2
    assert "has U+0000, which cannot be seen" in capsys.readouterr().err


def test_a_name_that_is_what_it_looks_like_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["überprüft", "答案", "Mod SFT", "a.b", ".hidden", "a+b=c", 'x"; touch canary #', "$(touch canary)", "`x`",
             "-rf", "a/b", "it's", "%j", "<b>", "x|y", "é (2)", "e\u0301", "...x"]  # fmt: skip
    assert [naming.fault(name) for name in names] == [None] * len(names)
    more = {"variants": dict.fromkeys(names, CHAIN), "cluster": {"classes": dict.fromkeys(names, {"cpus": 1})}}
    assert plan(tmp_path, more, capsys)[0] == 0


@pytest.mark.parametrize(
    "value", ["a100|h100&ib", "gpu:a100:2(S:0-1)", "-100", "lab's share #1", "n[1-3],n7", "$(x)", "überprüft", "a b"]
)
def test_a_value_that_sbatch_may_have_is_one(value: str) -> None:
    assert naming.value_fault(value) is None


def test_a_value_of_a_sweep_is_no_way_round_the_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-m", "+experiment=tiny_math", "only=[ModSFT]", f"store={tmp_path / 'store'}"]
    assert (
        main(
            ["plan", *words, "sft.learning_rate=0.01,0.02", "template.open=\"a\u202eb{{ question }}\",'{{ question }}'"]
        )
        == 2
    )
    assert "has U+202E RIGHT-TO-LEFT OVERRIDE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "allocation"),
    [
        ("x\n#SBATCH --wrap=x", Allocation()),
        ("x", Allocation(partition="x\ntouch canary")),
        ("x", Allocation(sbatch={"comment": "x\ntouch canary"})),
        ("x", Allocation(sbatch={"x\ntouch canary": 1})),
    ],
)
def test_no_script_is_written_whose_lines_are_not_ours(name: str, allocation: Allocation, tmp_path: Path) -> None:
    given = Submission(
        folder=tmp_path, name=name, size=1, ranks=1, after=None, allocation=allocation, code=CODE, grace=1
    )
    with pytest.raises(Refused, match=r"U\+000A, which no line of a script may have"):
        slurm.rehearse(given)
