"""Claims and verdicts: each verdict where it belongs, one seed proves nothing, and what is missing is named."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from orchestrator import claims, results
from orchestrator.claim import Part, Term
from orchestrator.claims import Judged
from orchestrator.quantities import reset_ratio
from orchestrator.refusal import ConfigError, parse
from tests.orchestrator.published import Published, graded

pytestmark = pytest.mark.usefixtures("toys")

SEEDS = (11, 12, 13)

#: Over+RL less Mod+RL, in the average of the OOD benchmarks.
LOWER = {
    "claim": "Over+RL less Mod+RL is below 0",
    "unit": "points",
    "expect": "below",
    "published": -2.1,
    "terms": [
        {"weight": 1, "variant": "Over+RL", "number": "pass@1", "of": "words"},
        {"weight": -1, "variant": "Mod+RL", "number": "pass@1", "of": "words"},
    ],
}


def claim(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"it": {"claim": "Over-training lowers it.", "source": "table 2", "parts": list(parts or (LOWER,))}}


def study(folder: Path, over: list[float], mod: float = 0.5, **changed: Any) -> Published:
    """Each seed's Over+RL solves this share of every problem of words, Mod+RL always `mod`."""
    made = Published(folder / "store", seeds=SEEDS, **{"claims": claim(), **changed})
    for seed, share in zip(SEEDS, over, strict=False):
        made.evaluate(f"Over+RL@seed={seed}", "words", graded(dict.fromkeys("abcd", share)))
        made.evaluate(f"Mod+RL@seed={seed}", "words", graded(dict.fromkeys("abcd", mod)))
    return made


def judged(made: Published) -> Judged:
    (only,) = claims.judge(made.study)
    return only


def test_a_claim_holds_where_the_interval_is_on_its_side(tmp_path: Path) -> None:
    found = judged(study(tmp_path, [0.0, 0.0, 0.5]))
    assert found.verdict == "cannot tell"  # -50, -50, 0: t over three seeds is wide
    assert found.estimate == pytest.approx(-100 / 3)
    # The error is 50 / 3 points with two degrees of freedom; all problems are alike and add nothing.
    assert found.low == pytest.approx(-100 / 3 - 4.302653 * 50 / 3)
    found = judged(study(tmp_path / "side", [0.0, 0.0, 0.25]))
    assert found.verdict == "holds" and found.high == pytest.approx(-125 / 3 + 4.302653 * 25 / 3)
    found = judged(study(tmp_path / "clear", [0.0, 0.0, 0.0]))
    assert (found.verdict, found.estimate, found.low, found.high) == ("holds", -50, -50, -50)
    assert (found.published, found.seeds, found.missing, found.parts) == (None, (3, 3), [], [])
    assert found.numbers == "pass@1 of Over+RL, words: 0; pass@1 of Mod+RL, words: 50"


def test_a_claim_fails_where_the_interval_is_on_the_other_side(tmp_path: Path) -> None:
    assert judged(study(tmp_path, [1.0, 1.0, 1.0])).verdict == "does not hold"


def test_a_claim_fails_where_the_effect_is_within_the_margin(tmp_path: Path) -> None:
    within = claim({**LOWER, "margin": 60.0})
    assert judged(study(tmp_path, [0.0, 0.0, 0.0], claims=within)).verdict == "does not hold"
    assert judged(study(tmp_path / "none", [0.5, 0.5, 0.5])).verdict == "does not hold"  # exactly no effect


@pytest.mark.parametrize(
    ("interval", "expect", "margin", "seeds", "verdict"),
    [
        ((1.0, 2.0), "above", 0.0, 3, "holds"),
        ((1.0, 2.0), "below", 0.0, 3, "does not hold"),
        ((-2.0, -1.0), "below", 0.0, 2, "holds"),
        ((-1.0, 2.0), "above", 0.0, 3, "cannot tell"),
        ((-1.0, 2.0), "above", 2.0, 3, "does not hold"),
        ((1.0, 3.0), "above", 2.0, 3, "holds"),
        ((1.0, 2.0), "above", 0.0, 1, "cannot tell"),
        (None, "above", 0.0, 3, "cannot tell"),
    ],
)
def test_the_rule(interval: Any, expect: Any, margin: float, seeds: int, verdict: str) -> None:
    part = Part(claim="x", terms=[Term(weight=1.0, number="n", diagnosis="d")], unit="", expect=expect, margin=margin)
    assert claims.rule(interval, part, seeds) == verdict


def test_a_claim_of_parts_holds_if_all_do() -> None:
    assert claims.together(["holds", "holds"]) == "holds"
    assert claims.together(["holds", "cannot tell"]) == "cannot tell"
    assert claims.together(["cannot tell", "does not hold"]) == "does not hold"


def test_nothing_is_judged_before_all_seeds_are_there(tmp_path: Path) -> None:
    found = judged(study(tmp_path, [0.0, 0.0]))
    assert (found.verdict, found.estimate, found.seeds) == ("cannot tell", -50, (2, 3))
    assert found.missing == ["evaluate/Over+RL.words@seed=13", "evaluate/Mod+RL.words@seed=13"]
    assert found.numbers.endswith("2 of 3 seeds")


def test_one_seed_is_shown_and_proves_nothing(tmp_path: Path) -> None:
    made = Published(tmp_path / "store", claims=claim())
    made.evaluate("Over+RL", "words", graded({"a": 0.0, "b": 0.25, "c": 0.0}))
    made.evaluate("Mod+RL", "words", graded({"a": 1.0, "b": 1.0, "c": 1.0}))
    found = judged(made)
    assert found.verdict == "cannot tell" and found.high is not None and found.high < 0
    assert found.numbers.endswith("one seed: the interval is over its problems")


def test_curves_and_diagnoses_are_compared_over_seeds(tmp_path: Path) -> None:
    gradients = {
        "claim": "gradient norms of Over+RL are above those of Mod+RL",
        "unit": "",
        "expect": "above",
        "terms": [
            {"weight": 1, "training": "Over+RL", "number": "gradient_norm"},
            {"weight": -1, "training": "Mod+RL", "number": "gradient_norm", "at": "last"},
        ],
    }
    entropy = {
        "claim": "entropy of Over is below 1",
        "unit": "nats",
        "expect": "below",
        "terms": [{"weight": 1, "diagnosis": "Over-base", "number": "entropy_checkpoint"}],
    }
    made = Published(tmp_path / "store", seeds=SEEDS, claims=claim(gradients, entropy))
    for number, seed in enumerate(SEEDS):
        made.trained(f"Over+RL@seed={seed}", [{"gradient_norm": 4.0}, {"gradient_norm": 6.0 + number}])
        made.trained(f"Mod+RL@seed={seed}", [{"gradient_norm": 9.0}, {"gradient_norm": 1.0}])
    made.diagnose("Over-base", {11: {"entropy_checkpoint": 0.1}, 12: {"entropy_checkpoint": 0.2}, 13: None})
    found = judged(made)
    assert [part.verdict for part in found.parts] == ["holds", "cannot tell"] and found.verdict == "cannot tell"
    first, second = found.parts
    assert first.estimate == pytest.approx(4.5)  # 5, 5.5, 6 less 1 each
    assert (first.low, first.high) == (pytest.approx(4.5 - 4.302653 * 0.5 / 3**0.5), pytest.approx(5.742, abs=1e-3))
    assert second.missing == found.missing == ["diagnose/Over-base@seed=13"]
    assert second.estimate == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("curve", "missing"),
    [
        ([{"gradient_norm": 1.0}, {"gradient_norm": None}, {"gradient_norm": 3.0}], None),
        (
            [{"gradient_norm": 1.0}, {"gradient_norm": math.nan}],
            "its curve has a gradient_norm that is no finite number",
        ),
        ([{"gradient_norm": 1.0}, {"gradient_norm": "x"}], "its curve has a gradient_norm that is no finite number"),
        ([{"gradient_norm": None}, None], "its curve has no gradient_norm"),
    ],
)
def test_a_curve_with_holes_is_the_mean_of_its_numbers_and_one_without_numbers_has_no_verdict(
    curve: Any, missing: str | None, tmp_path: Path
) -> None:
    part = {**LOWER, "unit": "", "terms": [{"weight": -1, "training": "Over+RL", "number": "gradient_norm"}]}
    made = Published(tmp_path / "store", seeds=SEEDS, claims=claim(part))
    for number, seed in enumerate(SEEDS):
        made.trained(f"Over+RL@seed={seed}", curve if number == 0 else [{"gradient_norm": 2.0}])
    found = judged(made)
    if missing is None:
        assert (found.verdict, found.estimate) == ("holds", -2.0)
    else:
        assert found.verdict == "cannot tell" and found.missing[0].endswith(missing)


@pytest.mark.parametrize("share", [1 / 16, 7 / 16, 11 / 16])
def test_numbers_that_are_all_alike_are_no_effect_whatever_rounding_leaves_of_their_sum(
    share: float, tmp_path: Path
) -> None:
    def term(weight: float, variant: str) -> dict[str, Any]:
        return {"weight": weight, "variant": variant, "number": "pass@1", "of": "words"}

    weights = {"Over+RL": 0.1, "Mod+RL": -0.3, "Repaired+RL": 0.2}  # of one share: 0.1 - 0.3 + 0.2 of it
    terms = [term(weight, variant) for variant, weight in weights.items()]
    made = Published(tmp_path / "store", seeds=SEEDS, claims=claim({**LOWER, "terms": terms}))
    for seed in SEEDS:
        for variant in weights:
            made.evaluate(f"{variant}@seed={seed}", "words", graded(dict.fromkeys("abcd", share), k=16))
    found = judged(made)
    assert (found.estimate, found.low, found.high, found.verdict) == (0, 0, 0, "does not hold")


def test_an_artifact_without_the_number_is_named(tmp_path: Path) -> None:
    part = {**LOWER, "terms": [{"weight": 1, "training": "Over+RL", "number": "gradient_norm"}]}
    made = Published(tmp_path / "store", seeds=SEEDS, claims=claim(part))
    for seed in SEEDS:
        made.trained(f"Over+RL@seed={seed}", [{"loss": 1.0}])
    assert judged(made).missing[0].endswith(": its curve has no gradient_norm")


@pytest.mark.parametrize(
    ("term", "lacks"),
    [
        ({"variant": "Under+RL", "number": "pass@1", "of": "words"}, "row Under+RL"),
        ({"variant": "Over+RL", "number": "pass@1", "of": "math500"}, "column math500"),
        ({"variant": "Over+RL", "number": "gap", "of": "choice"}, "benchmark of choice with more than one sample"),
        ({"training": "Under+RL", "number": "gradient_norm"}, "row Under+RL"),
        ({"diagnosis": "Over-base", "number": "change_norm"}, "diagnosis Over-base"),
        ({"reset": "Over+RL", "number": "reset_ratio"}, "rejuvenation in the chain of Over+RL"),
    ],
)
def test_a_study_without_the_rows_says_what_it_lacks(term: dict[str, Any], lacks: str, tmp_path: Path) -> None:
    made = Published(tmp_path / "store", claims=claim({**LOWER, "terms": [{"weight": 1, **term}]}))
    found = judged(made)
    assert (found.verdict, found.estimate, found.seeds) == ("not judged", None, (0, 0))
    assert found.lacks[0].startswith(lacks) and found.lacking == f"no {found.lacks[0]} in this study"


def test_a_gap_of_an_average_is_of_the_benchmarks_that_have_one(tmp_path: Path) -> None:
    terms = [{"weight": -1, "variant": "Over+RL", "number": "gap", "of": "OOD avg"}]  # words, and choice with K = 1
    made = Published(tmp_path / "store", seeds=SEEDS, claims=claim({**LOWER, "terms": terms}))
    for seed in SEEDS:
        made.evaluate(f"Over+RL@seed={seed}", "words", graded(dict.fromkeys("abcd", 0.25)))
    assert (judged(made).estimate, judged(made).verdict) == (-75, "holds")


def test_the_ratio_of_a_reset_is_of_the_modules_that_are_asked_for() -> None:
    modules = {
        f"model.layers.{layer}.self_attn.{kind}": {"neurons": 10 + 10 * (kind == "q_proj"), "selected": layer}
        for layer in range(5)
        for kind in ("q_proj", "k_proj", "v_proj")
    }
    assert reset_ratio(modules, [], late=False) == 30 / 200
    assert reset_ratio(modules, ["k_proj", "v_proj"], late=False) == 20 / 100
    assert reset_ratio(modules, [], late=True) == 21 / 80  # layers 3 and 4: a quarter of five, rounded up
    assert reset_ratio(modules, ["v_proj"], late=True) == 7 / 20
    with pytest.raises(ZeroDivisionError):
        reset_ratio(modules, ["o_proj"], late=False)


def test_seeds_with_other_problems_are_compared_over_seeds_alone(tmp_path: Path) -> None:
    made = study(tmp_path, [0.0, 0.0, 0.25])
    made.evaluate("Over+RL@seed=12", "words", graded({"a": 0.0, "z": 0.0}))
    assert "over seeds alone: problems that only one of the two has" in judged(made).numbers


def test_the_report_has_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = study(tmp_path, [0.0, 0.0])
    results.show(made.study, as_json=False)
    printed = capsys.readouterr().out
    assert "Over-training lowers it." in printed and "cannot tell" in printed
    assert "missing for verdicts: evaluate/Over+RL.words@seed=13, evaluate/Mod+RL.words@seed=13\n" in printed
    results.show(made.study, as_json=True)
    (found,) = json.loads(capsys.readouterr().out)["claims"]
    assert (found["name"], found["verdict"], found["estimate"]) == ("it", "cannot tell", -50)
    with made.report("claims.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["verdict"], float(row["estimate"]), row["seeds"], row["seeds_wanted"]) == ("cannot tell", -50, "2", "3")
    assert made.report("claims.md").read_text().startswith("| claim | verdict | estimate \\[95 % interval\\] | paper |")


def test_a_term_names_one_place() -> None:
    with pytest.raises(ConfigError, match="expected one of variant, training, diagnosis, reset"):
        parse(Term, {"weight": 1, "number": "n"}, "term")
    with pytest.raises(ConfigError, match="go together"):
        parse(Term, {"weight": 1, "number": "n", "variant": "v"}, "term")
    with pytest.raises(ConfigError, match="kinds and layers are of a reset"):
        parse(Term, {"weight": 1.0, "number": "n", "diagnosis": "d", "layers": "late"}, "term")
    with pytest.raises(ConfigError, match="allowed: reset_ratio"):
        parse(Term, {"weight": 1.0, "number": "n", "reset": "r"}, "term")
