"""Diagnoses: which checkpoints of a study are compared, what is refused, and the table of what was measured."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

import pytest

from orchestrator import config
from orchestrator.diagnoses import Diagnoses, write
from orchestrator.graph import Graph, Node
from orchestrator.refusal import ConfigError
from tests.conftest import study

pytestmark = pytest.mark.usefixtures("toys")

SFT: dict[str, Any] = {"toy_train": {"epochs": 4}}
VARIANTS: dict[str, list[Any]] = {
    "Over": [SFT],
    "Repaired": [SFT, "attribute", {"toy_train": {"epochs": 1, "rate": 0.5}}],
}


@functools.cache
def conf(group: str) -> dict[str, Any]:
    """The tiny config of a stage."""
    fields: dict[str, Any] = config.compose([f"+{group}=tiny"]).config[group]
    return fields


def compared(
    folder: Path,
    diagnoses: dict[str, Any],
    variants: dict[str, list[Any]] | None = None,
    overrides: dict[str, dict[str, str]] | None = None,
    **outside: Any,
) -> Graph:
    """The graph of a toy study with these diagnoses, whose stages have their tiny configs."""
    (folder / "rows.jsonl").write_text('{"prompt": "1 + 1", "completion": " 2"}\n')
    given: dict[str, Any] = {
        "calibration": str(folder / "rows.jsonl"),
        "attribute": conf("attribute"),
        "diagnose": {**conf("diagnose"), "rho": 0.0},
        "diagnoses": diagnoses,
        **outside,
    }
    return study(folder / "store", variants or VARIANTS, overrides, outside=given)[1]


def errors(folder: Path, diagnoses: dict[str, Any], *more: Any, **outside: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compared(folder, diagnoses, *more, **outside)
    return caught.value.messages


def labels(node: Node) -> dict[str, str]:
    return {kind: given.label for kind, given in node.inputs.items() if isinstance(given, Node)}


def test_a_diagnosis_is_a_node_like_any_other(tmp_path: Path) -> None:
    found = compared(tmp_path, {"SFT": {"checkpoint": "Over", "reference": "base"}})
    node = found.diagnoses["SFT"]
    assert found.nodes[node.fingerprint] is node and (node.stage, node.label) == ("diagnose", "SFT")
    assert labels(node) == {"reference": "base", "checkpoint": "Over"} and "calibration" in node.inputs
    assert [need.label for need in found.waits_for(node)] == ["base", "Over"]


def test_two_names_for_the_same_comparison_are_one_node(tmp_path: Path) -> None:
    same = {"checkpoint": "Over", "reference": "base"}
    found = compared(tmp_path, {"One": same, "Two": same})
    assert found.diagnoses["One"] is found.diagnoses["Two"]


def test_the_attribution_is_found_though_a_later_stage_has_used_it(tmp_path: Path) -> None:
    named = {"checkpoint": "Repaired", "reference": "Over", "attribution": "Repaired", "diagnose": {"rho": 0.01}}
    node = compared(tmp_path, {"Repair": named}).diagnoses["Repair"]
    attribution = node.inputs["attribution"]
    assert isinstance(attribution, Node) and attribution.stage == "attribute"
    assert attribution.inputs["checkpoint"] is node.inputs["reference"]


def test_at_rho_0_an_attribution_is_no_input(tmp_path: Path) -> None:
    named = {"checkpoint": "Repaired", "reference": "Over", "attribution": "Repaired"}
    assert "attribution" not in compared(tmp_path, {"Repair": named}).diagnoses["Repair"].inputs


def test_above_rho_0_an_attribution_has_to_be_named(tmp_path: Path) -> None:
    named = {"checkpoint": "Over", "reference": "base", "diagnose": {"rho": 0.01}}
    (message,) = errors(tmp_path, {"SFT": named}, None, {"diagnose": {"sigma": "5.0"}})
    assert message == (
        "diagnoses.SFT: diagnose needs attribution; "
        "name one of a variant whose chain has attribute (attribution: VARIANT), or pin diagnose: {rho: 0.0}"
    )


@pytest.mark.parametrize(
    ("diagnosis", "message"),
    [
        ({"checkpoint": "Ovr", "reference": "base"}, "checkpoint='Ovr': not a variant; did you mean 'Over'?"),
        ({"checkpoint": "Over", "reference": "bas"}, "reference='bas': not a variant; did you mean 'base'?"),
        ({"checkpoint": "base", "reference": "Over"}, "checkpoint='base': not a variant"),
        (
            {"checkpoint": "Over", "reference": "base", "attribution": "Repared"},
            "attribution='Repared': not a variant; did you mean 'Repaired'?",
        ),
        (
            {"checkpoint": "Over", "reference": "base", "attribution": "Over"},
            "attribution='Over': its chain has no attribution; allowed: Repaired",
        ),
        ({"checkpoint": "Over"}, "reference: has no value"),
        ({"checkpoint": "Over", "reference": "base", "atribution": "Repaired"}, "atribution: no such key"),
        (
            {"checkpoint": "Over", "reference": "base", "diagnose": {"sigmma": 3.0}},
            "diagnose.sigmma: no such key; did you mean 'sigma'?",
        ),
        (
            {"checkpoint": "Over", "reference": "base", "attribution": "Repaired", "diagnose": {"rho": 0.2}},
            "diagnose.rho=0.2: above attribute.keep=0.1; raise attribute.keep",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(diagnosis: dict[str, Any], message: str, tmp_path: Path) -> None:
    (found,) = errors(tmp_path, {"SFT": diagnosis})
    assert found.startswith(f"diagnoses.SFT.{message}")


def test_without_a_base_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "given" / name).write_text("{}")
    outside = {"base": None, "checkpoint": str(tmp_path / "given")}
    (message,) = errors(
        tmp_path, {"SFT": {"checkpoint": "Given", "reference": "base"}}, {"Given": ["checkpoint"]}, **outside
    )
    assert message == "diagnoses.SFT.reference=base: base has no value; set it to a hub id or a folder"


def test_an_error_in_a_chain_is_told_once(tmp_path: Path) -> None:
    variants = {**VARIANTS, "Over": [{"toy_train": {"epochs": 0}}]}
    named = {"checkpoint": "Repaired", "reference": "Over", "attribution": "Repaired"}
    found = errors(tmp_path, {"Repair": named}, variants)
    assert found == ["variants.Over[0].toy_train.epochs=0: input should be greater than or equal to 1"]


def test_a_diagnosis_of_a_chain_with_a_bad_attribution_adds_no_error(tmp_path: Path) -> None:
    named = {"checkpoint": "Over", "reference": "base", "attribution": "Repaired", "diagnose": {"rho": 0.01}}
    found = errors(tmp_path, {"SFT": named}, attribute={**conf("attribute"), "samples": 0})
    assert found == ["attribute.samples=0: input should be greater than or equal to 1"]


def test_what_is_left_out_takes_its_diagnoses_along(tmp_path: Path) -> None:
    diagnoses = {
        "SFT": {"checkpoint": "Over", "reference": "base"},
        "Repair": {"checkpoint": "Repaired", "reference": "Over"},
        "Explained": {"checkpoint": "Over", "reference": "base", "attribution": "Repaired"},
    }
    assert compared(tmp_path, diagnoses, only=["Over"]).diagnoses.keys() == {"SFT"}


def test_diagnose_is_no_stage_of_a_chain(tmp_path: Path) -> None:
    (message,) = errors(tmp_path, {}, {"Over": [SFT, "diagnose"]})
    assert message.startswith("variants.Over[1]: diagnose needs reference; ")
    assert message.endswith("name two checkpoints in diagnoses")


def test_an_override_that_every_diagnosis_pins_is_an_error(tmp_path: Path) -> None:
    named = {"checkpoint": "Over", "reference": "base", "diagnose": {"sigma": 3.0}}
    (message,) = errors(tmp_path, {"SFT": named}, None, {"diagnose": {"sigma": "5.0"}})
    assert message == "diagnose.sigma=5.0: has no effect; every diagnosis pins it (3.0)"


def test_the_table_is_written_for_people_and_for_programs(tmp_path: Path) -> None:
    table = Diagnoses({"SFT": {"samples": 4, "norm": 15.94829}, "RL": None, "Repair": {"norm": 2.0, "in": "lm_head"}})
    markdown, comma_separated = write(table, tmp_path)
    assert markdown.read_text().splitlines() == [
        "| number | SFT | RL | Repair |",
        "| --- | ---: | ---: | ---: |",
        "| samples | 4 | - | - |",
        "| norm | 15.95 | - | 2 |",
        "| in | - | - | lm_head |",
    ]
    with comma_separated.open() as stream:
        assert list(csv.DictReader(stream)) == [
            {"diagnosis": "SFT", "samples": "4", "norm": "15.94829", "in": ""},
            {"diagnosis": "RL", "samples": "", "norm": "", "in": ""},
            {"diagnosis": "Repair", "samples": "", "norm": "2.0", "in": "lm_head"},
        ]
