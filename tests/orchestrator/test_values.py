"""Values of a config that no stage and no file system takes: exit code 2, with key, value and what is allowed."""

from pathlib import Path

import pytest

from launch.naming import LONGEST
from orchestrator import values
from orchestrator.__main__ import main

FINITE, WHOLE, SEED = "finite number", "from -9007199254740991 to 9007199254740991", "less than 4294967296"


@pytest.mark.parametrize(
    ("override", "key", "allowed"),
    [
        ("sft.learning_rate=inf", "sft.learning_rate=inf", FINITE),
        ("sft.learning_rate=1e400", "sft.learning_rate=inf", FINITE),
        ("sft.weight_decay=inf", "sft.weight_decay=inf", FINITE),
        ("sft.weight_decay=-inf", "sft.weight_decay=-inf", "greater than or equal to 0"),
        ("sft.gradient_clip=nan", "sft.gradient_clip=nan", FINITE),
        ("grpo.temperature=inf", "grpo.temperature=inf", FINITE),
        ("evaluate.temperature=inf", "evaluate.temperature=inf", FINITE),
        ("rejuvenate.alpha=inf", "rejuvenate.alpha=inf", "less than or equal to 1"),
        ("pretrain.learning_rate=inf", "pretrain.learning_rate=inf", FINITE),
        ("diagnose.scales=[0.5,inf]", "diagnose.scales.1=inf", FINITE),
        ("+variants.A=[{sft: {epochs: 4, learning_rate: inf}}]", "variants.A.0.sft.learning_rate=inf", FINITE),
        ("+cluster.default.memory=inf", "cluster.default.memory=inf", FINITE),
        ("cluster.cpus=9007199254740993", "cluster.cpus=9007199254740993", WHOLE),
        ("sft.batch=9007199254740993", "sft.batch=9007199254740993", WHOLE),
        ("contamination.ngram=9007199254740992", "contamination.ngram=9007199254740992", WHOLE),
        ("benchmark.tiny_sums.evaluate.k=9007199254740993", "benchmark.tiny_sums.evaluate.k=9007199254740993", WHOLE),
        ("seed=9007199254740993", "seed=9007199254740993", SEED),
        ("seed=4294967296", "seed=4294967296", SEED),
        ("seed=-1", "seed=-1", "greater than or equal to 0"),
        ("seeds=[0,4294967296]", "seeds.1=4294967296", SEED),
        ("sft.seed=4294967296", "sft.seed=4294967296", SEED),
        ("pretrain.seed=4294967296", "pretrain.seed=4294967296", SEED),
        ("+variants.A=[{sft: {epochs: 4, seed: 4294967296}}]", "variants.A[0].sft.seed=4294967296", SEED),
        ("question=\"\udcff\"", "question='\\udcff'", "Unicode text"),
        ("name=" + "n" * 224, "name='" + "n" * 199, "224 bytes of UTF-8, and "),
        ("+variants." + "v" * 224 + "=[{sft: {epochs: 4}}]", "variants='" + "v" * 199, f"allowed: at most {LONGEST}"),
        ("store=/dev/null", "store=/dev/null: /dev/null is a file", "a folder, or a path where one can be made"),
        ("store=/dev/null/x", "store=/dev/null/x: /dev/null is a file", "a folder, or a path where one can be made"),
        ("store=" + "s" * 300, "store='" + "s" * 199, "a name of 300 bytes; a file system holds 255"),
        ("seed=" + "x" * 5000, "seed='" + "x" * 199 + "... (5,002 characters)", "valid integer"),
    ],
)  # fmt: skip
def test_a_value_that_nothing_takes(
    override: str, key: str, allowed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = [] if override.startswith("store") else [f"store={tmp_path / 'store'}"]
    assert main(["plan", "+experiment=tiny_math", *store, override]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith(f"error: {key}") and allowed in line], lines
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "override",
    [
        "sft.learning_rate=1e-300",
        "sft.weight_decay=1e308",
        "seed=4294967295",
        "seeds=[0,4294967295]",
        "contamination.ngram=9007199254740991",
        'question="überprüft"',
        "name=" + "n" * LONGEST,
        "+variants." + "v" * (LONGEST - len(".tiny_choice")) + "=[{sft: {epochs: 4}}]",
    ],
)
def test_a_value_at_the_edge_of_what_is_taken(override: str, tmp_path: Path) -> None:
    assert main(["plan", "+experiment=tiny_math", f"store={tmp_path}", override]) == 0


def test_a_link_to_nowhere_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    assert main(["plan", "+experiment=tiny_math", f"store={link}"]) == 2
    assert f"is a link to {tmp_path / 'nowhere'}, which is not there" in capsys.readouterr().err


def test_what_is_no_json_is_named() -> None:
    found = dict(values.faults({"a": [1, b"x"], "\ud800": 2.0, "b": float("nan"), "ok": [True, None, "é", 1.5]}, "k"))
    assert {key.replace("\ud800", "HALF"): message.rpartition(": ")[2][:34] for key, message in found.items()} == {
        "k.a.1": "a bytes is no JSON; input should b", "k.HALF": "it has U+D800, half of a surrogate",
        "k.b": "input should be a finite number",
    }  # fmt: skip
