"""The paper's claims on studies with planted effects: each verdict for each claim, and none from one seed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import claims, config, sweep
from orchestrator.claim import Term
from orchestrator.claims import Judged
from orchestrator.command import Study
from orchestrator.document import markdown, paper, verdicts
from orchestrator.document.blocks import Document, Section
from orchestrator.refusal import parse
from stages.store import Store
from tests.orchestrator import planted
from tests.orchestrator.planted import Effect

FILE = Path(__file__).parents[2] / "conf" / "claims" / "paper.yaml"
CLAIMS: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
VERDICTS: dict[Effect, str] = {"paper": "holds", "none": "cannot tell", "opposite": "does not hold"}
PARTS = {f"{name}, {part['claim']}": part for name, claim in CLAIMS.items() for part in claim["parts"]}


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Judged]]:
    """Effect -> claim -> its verdict, from three seeds; `one` is the paper's effect with one seed."""
    found = {}
    for effect in VERDICTS:
        found[effect] = _judged(planted.study(tmp_path_factory.mktemp(effect) / "store", "seeds=[11,12,13]"), effect)
    return {**found, "one": _judged(planted.study(tmp_path_factory.mktemp("one") / "store", "seeds=[11]"), "paper")}


def _judged(study: Study, effect: Effect) -> dict[str, Judged]:
    planted.plant(study, effect)
    return {each.name: each for each in claims.judge(study)}


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.parametrize("effect", VERDICTS)
def test_each_claim_has_the_verdict_of_the_effect_that_is_there(
    effect: Effect, name: str, judged: dict[str, dict[str, Judged]]
) -> None:
    found = judged[effect][name]
    assert (found.missing, found.lacks, found.seeds) == ([], [], (3, 3))
    assert {part.claim: part.verdict for part in found.parts or [found]} == dict.fromkeys(
        [part.claim for part in found.parts] or [found.claim], VERDICTS[effect]
    )
    assert found.verdict == VERDICTS[effect]


@pytest.mark.parametrize("name", CLAIMS)
def test_one_seed_has_no_verdict_however_large_the_effect(name: str, judged: dict[str, dict[str, Judged]]) -> None:
    found = judged["one"][name]
    assert {each.verdict for each in [found, *found.parts]} == {"cannot tell"}
    assert all(each.estimate is not None for each in found.parts or [found])


def test_where_the_paper_s_scores_are_planted_its_differences_come_out(judged: dict[str, dict[str, Judged]]) -> None:
    for name, claim in CLAIMS.items():
        found = judged["paper"][name]
        for part, said in zip(found.parts or [found], claim["parts"], strict=True):
            if "published" in said and name != "gap_math":
                rounded = sum(abs(term["weight"]) for term in said["terms"]) / 20  # each is rounded to a digit
                assert part.estimate == pytest.approx(said["published"], abs=rounded + 0.001)


@pytest.mark.parametrize("part", [pytest.param(part, id=name) for name, part in PARTS.items() if "published" in part])
def test_every_published_difference_is_that_of_the_paper_s_tables(part: dict[str, Any]) -> None:
    terms = [parse(Term, {**term, "weight": float(term["weight"])}, "") for term in part["terms"]]
    assert sum(term.weight * _published(term) for term in terms) == pytest.approx(part["published"], abs=1e-9)


def _published(term: Term) -> float:
    """The number in the paper's tables."""
    row = term.row or str(term.diagnosis).removesuffix("-base")
    if term.number in ("gap", "entropy_checkpoint"):
        values = next(line.values for line in paper.table(1).lines if row in line.names)
        return values[3 if term.number == "gap" else 1]
    averages = dict(zip(("ID avg", "OOD avg", "avg"), planted.PUBLISHED[row], strict=True))
    return averages[str(term.of)]


def test_verdicts_on_resets_say_how_many_neurons_are_reset(judged: dict[str, dict[str, Judged]]) -> None:
    found, share = judged["paper"], pytest.approx((2 * 0.6 + 26 * 0.1) / 28, abs=1e-3)
    for name in ("rejuvenation_entropy", "target_entropy", "resets_cluster", "overlap"):
        assert found[name].resets == {"Rejuvenation": share}
    for name in ("rejuvenation_ood", "reset", "fusion"):
        assert found[name].resets == {"Rejuvenation+RL": share}
    assert found["rejuvenation_gain"].resets == {"Rejuvenation+RL": share, "Rejuvenation": share}
    assert found["fusion_sharpness"].resets == found["gain"].resets == {}
    assert (found["overlap"].reset, found["rejuvenation_gain"].reset, found["gain"].reset) == ("14 %", "14 %", "")


def test_a_claim_without_its_rows_says_which_it_needs_and_is_not_one_that_cannot_be_told(tmp_path: Path) -> None:
    rows = "ModSFT,ModSFT+RL,OverSFT,OverSFT+RL,Rejuvenation+RL,Fusion-0.4+RL"
    found = {each.name: each for each in claims.judge(planted.study(tmp_path / "store", f"only=[{rows}]"))}
    assert list(found) == list(CLAIMS)
    assert {name for name, each in found.items() if each.verdict != "not judged"} == {
        *("shift", "rl_shift", "sharpness", "entropy", "gap", "gap_math", "gradients", "gain", "end"),
        *("rejuvenation_ood", "rejuvenation_reference", "rejuvenation_reference_ood"),
    }
    assert {name: each.lacks for name, each in found.items() if each.lacks} == {
        "dft": ["row DFT+RL"],
        "fusion_sharpness": ["diagnosis Fusion-base"],
        "rejuvenation_entropy": ["diagnosis Rejuvenation-base"],
        "target_entropy": ["diagnosis Rejuvenation-OverSFT"],
        "rejuvenation_gain": ["row Rejuvenation"],
        **dict.fromkeys(["fusion", "reset", "reset_ood"], ["row Fusion+RL"]),
        "attribution": ["row RandomReset+RL"],
        "moderate": ["row ModSFT+Rejuvenation+RL"],
        "alpha": [f"row Fusion-{alpha}+RL" for alpha in ("0.5", "0.45", "0.55", "0.6")],
        "alpha_ends": ["row Fusion-0.5+RL", "row Fusion-0.6+RL"],
        "rho": [f"row Rejuvenation-{rho}+RL" for rho in ("0.01", "0.005", "0.02", "0.04")],
        "rho_ends": [f"row Rejuvenation-{rho}+RL" for rho in ("0.01", "0.005", "0.02", "0.04")],
        "rho_small": ["row Rejuvenation-0.005+RL"],
        "resets_cluster": ["row Rejuvenation"],
        "overlap": ["diagnosis Rejuvenation-OverSFT"],
    }
    assert found["alpha_ends"].lacking == "no row Fusion-0.5+RL, no row Fusion-0.6+RL in this study"
    assert all(each.estimate is None and not each.parts for each in found.values() if each.lacks)


@pytest.mark.parametrize(
    ("experiment", "overrides", "beside"),
    [
        ("evolm_math", [], {"entropy": -0.16, "gap_math": -4.1, "gain": [-3.5, -2.8], "fusion": [0.8, 1.8, 2.6]}),
        (
            "evolm_math",
            ["benchmark=[math500,arc_chat]"],
            {"entropy": -0.16, "gap_math": -4.1, "gain": [None, None]},
        ),
        ("evolm_alpha", [], {"alpha": [0.2, 0.2, 0.4, 1.2], "alpha_ends": [-0.8, -3.1]}),
        ("evolm_rho", [], {"rho": [0.8, 0.2, 1.9], "rho_ends": [2.3, 1.8, -1.4]}),
        ("evolm_checkpoints", [], {"moderate": 0.6, "end": [-2.5, -1.9], "rejuvenation_gain": [7.2, 2.6], "dft": None}),
        ("tiny_paper", [], {"entropy": None, "gain": [None, None], "fusion": [None, None, None]}),
    ],
)
def test_a_published_number_stands_beside_the_same_quantity_alone(
    experiment: str, overrides: list[str], beside: dict[str, Any], tmp_path: Path
) -> None:
    composed = config.compose([f"+experiment={experiment}", *overrides, f"store={tmp_path}"])
    study = Study(*sweep.merge(sweep.read([composed])), Store(tmp_path))
    found = {each.name: each for each in claims.judge(study)}
    assert {
        name: [part.published for part in found[name].parts] if found[name].parts else found[name].published
        for name in beside
    } == beside


def test_rows_of_the_paper_are_found_by_the_name_that_its_own_experiment_gives_them(tmp_path: Path) -> None:
    for experiment, verdict in (("evolm_checkpoints", "cannot tell"), ("tiny_paper", "not judged")):
        rows = "SFT-2,SFT-2+RL,SFT-32,SFT-32+RL,SFT-2+Rejuvenation+RL"
        composed = config.compose([f"+experiment={experiment}", f"only=[{rows}]", f"store={tmp_path}"])
        study = Study(*sweep.merge(sweep.read([composed])), Store(tmp_path))
        found = {each.name: each for each in claims.judge(study)}
        assert (found["moderate"].verdict, found["gain"].verdict) == (verdict, verdict)  # SFT-2 is no ModSFT there
    assert found["moderate"].lacks == ["row ModSFT+Rejuvenation+RL", "row ModSFT+RL"]


def text(judged: Iterable[Judged]) -> str:
    """The section of the report, as Markdown."""
    made = Document("t", "q", "s", False, [Section("claims", "Claims", list(verdicts.blocks(list(judged))))])
    return markdown.render(made)


def test_the_report_counts_what_it_judges_and_names_what_the_rest_would_need(
    judged: dict[str, dict[str, Judged]], tmp_path: Path
) -> None:
    assert "Of 29 claims 29 hold.\n" in text(judged["paper"].values())
    assert "Of 29 claims 29 do not hold.\n" in text(judged["opposite"].values())
    assert "Of 29 claims 29 cannot be told.\n" in text(judged["none"].values())
    assert "| Fusion-0.5+RL less Fusion-0.4+RL is above 0 | ✗ does not hold | -0.3 " in text(
        judged["opposite"].values()
    )
    few = [*judged["paper"].values()][:3] + [
        each for each in claims.judge(planted.study(tmp_path / "store", "only=[ModSFT]")) if each.name == "dft"
    ]
    page = text(few)
    assert "Of 3 claims 3 hold. 1 more is about rows that this study does not have (listed below).\n" in page
    assert "**Claims that this study has not the rows for (1)**" in page
    assert "(section 4.2, table 2): no row DFT+RL, no row OverSFT+RL, no row ModSFT+RL in this study." in page
    assert "neurons reset" not in page and "the paper's |" not in page


def test_one_seed_makes_no_headline_and_says_what_would(judged: dict[str, dict[str, Judged]]) -> None:
    page = text(judged["one"].values())
    assert "No verdict yet on 29 claims: each row has one seed" in page and "seeds=\\[0,1,2\\]" in page
    assert "cannot be told" not in page and "**The estimates so far, of one seed**" in page
