"""Differences between variants: paired by problem, with intervals that hold what they promise."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from orchestrator import config, differences, results, sweep
from orchestrator.config import Composed
from orchestrator.differences import Difference, Unpaired, average, paired
from orchestrator.refusal import ConfigError
from tests.orchestrator.published import DIFFERENCES, GROUPS, Published, graded, samples

pytestmark = pytest.mark.usefixtures("toys")

shares = st.floats(0, 1).map(lambda share: round(share * 32) / 32)


def ids(values: Any) -> dict[str, float]:
    return {f"p{number}": float(value) for number, value in enumerate(values)}


@given(st.lists(st.tuples(shares, shares), min_size=2, max_size=40))
def test_a_difference_is_that_of_a_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*pairs, strict=True)
    found = paired(ids(ours), ids(theirs))
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(theirs), abs=1e-12)
    assert (found.freedom, found.problems) == (len(pairs) - 1, len(pairs))
    if found.error > 1e-9:
        test = stats.ttest_rel(ours, theirs)
        expected = test.confidence_interval(0.95)
        assert found.interval == (pytest.approx(expected.low), pytest.approx(expected.high))
        assert (found.verdict != "") == (test.pvalue < 0.05) or test.pvalue == pytest.approx(0.05)
    else:  # all alike: nothing is uncertain
        assert found.interval == (pytest.approx(found.mean), pytest.approx(found.mean))


@given(st.lists(st.tuples(shares, shares), min_size=2, max_size=20), st.randoms())
def test_a_difference_depends_on_ids_and_not_on_order(pairs: list[tuple[float, float]], draw: Any) -> None:
    ours, theirs = (ids(values) for values in zip(*pairs, strict=True))
    shuffled = list(theirs.items())
    draw.shuffle(shuffled)
    assert paired(ours, dict(shuffled)) == paired(ours, theirs)
    there, back = paired(ours, theirs), paired(theirs, ours)
    assert (back.mean, back.error) == (pytest.approx(-there.mean), pytest.approx(there.error))


def test_pairing_takes_the_problems_out_of_the_error() -> None:
    ours, theirs = ids([0.1, 0.5, 0.9, 0.4]), ids([0.0, 0.4, 0.8, 0.2])
    found = paired(ours, theirs)
    assert found.mean == pytest.approx(0.125)
    assert found.error == pytest.approx(0.025)  # differences 0.1, 0.1, 0.1, 0.2: a deviation of 0.05, over root 4
    assert str(found) == "+12.5 [+4.5, +20.5] higher"
    assert str(paired(theirs, ours)) == "-12.5 [-20.5, -4.5] lower"


def test_an_interval_that_includes_0_has_no_verdict() -> None:
    assert str(paired(ids([0.5, 0.25]), ids([0.25, 0.5]))).endswith("]")
    assert paired(ids([0.5, 0.5]), ids([0.5, 0.5])).verdict == ""


def test_problems_that_differ_are_named() -> None:
    with pytest.raises(Unpaired, match=r"^problems that only one of the two has: p1, p2$"):
        paired({"p0": 0.0, "p1": 0.5}, {"p0": 0.0, "p2": 0.5})
    with pytest.raises(Unpaired, match=r"p0, p1, p10, p11, p2 and 7 more$"):
        paired(ids([0.0] * 12), {})
    with pytest.raises(Unpaired, match="two problems, not 1"):
        paired({"p0": 0.0}, {"p0": 1.0})


def test_an_average_of_two_has_the_degrees_of_freedom_of_welch() -> None:
    draws = np.random.default_rng(0)
    one, other = draws.normal(0.1, 0.1, 9), draws.normal(0.3, 0.4, 25)
    found = average([paired(ids(values), ids(0 * values)) for values in (one, other)])
    assert found is not None
    # The mean of two is half of one minus the other with its sign turned, which is Welch's test.
    welch = stats.ttest_ind(one, -other, equal_var=False)
    assert found.freedom == pytest.approx(welch.df)
    expected = welch.confidence_interval(0.95)
    assert found.interval == (pytest.approx(expected.low / 2), pytest.approx(expected.high / 2))


def test_an_average_of_averages_has_the_freedom_of_the_weighted_sum() -> None:
    each = [Difference(mean=0.1, error=0.01 * n, freedom=10.0 * n, problems=10 * n + 1) for n in (1, 2, 3, 4, 5)]
    found = average([average(each[:3]), average(each[3:])])
    assert found is not None
    squares = [(one.error / (2 * size)) ** 2 for one, size in zip(each, (3, 3, 3, 2, 2), strict=True)]
    assert found.error == pytest.approx(math.sqrt(sum(squares)))
    spread = sum(square**2 / one.freedom for square, one in zip(squares, each, strict=True))
    assert found.freedom == pytest.approx(sum(squares) ** 2 / spread)


def test_an_average_over_something_missing_is_missing() -> None:
    known = Difference(mean=0.1, error=0.0, freedom=3, problems=4)
    assert average([known, None]) is None and average([]) is None
    assert average([known, known]) == Difference(mean=0.1, error=0.0, freedom=6, problems=8)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    draws, hits = np.random.default_rng(1), 0
    for _ in range(400):
        hard = draws.beta(1, 1, (2, 30))
        ours = draws.binomial(8, 0.8 * hard + 0.1) / 8  # on average 0.5
        theirs = draws.binomial(8, hard) / 8
        both = average([paired(ids(a), ids(b)) for a, b in zip(ours, theirs, strict=True)])
        assert both is not None
        hits += both.interval[0] <= 0.0 <= both.interval[1]
    assert 0.92 < hits / 400 < 0.98


def test_every_difference_is_that_of_the_artifacts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Published(tmp_path / "store")
    for number, cell in enumerate(made.graph.scores):
        made.evaluate(*cell, samples(made.k(cell[1]), seed=number))
    results.show(made.study, as_json=True)
    found = json.loads(capsys.readouterr().out)["differences"]
    for name, sides in DIFFERENCES.items():
        apart = {
            benchmark: made.scores(sides["variant"], benchmark)["pass@1"]
            - made.scores(sides["reference"], benchmark)["pass@1"]
            for benchmark in GROUPS
        }
        for benchmark, mean in apart.items():
            assert found[name][benchmark]["mean"] == pytest.approx(mean)
            assert found[name][benchmark]["problems"] == 12
        means = {g: np.mean([apart[b] for b in GROUPS if GROUPS[b] == g]) for g in ("ID", "OOD")}
        assert found[name]["ID avg"]["mean"] == pytest.approx(means["ID"])
        assert found[name]["avg"]["mean"] == pytest.approx((means["ID"] + means["OOD"]) / 2)
    with made.report("differences.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            expected = found[row["difference"]][row["benchmark"]]
            assert {key: float(row[key]) for key in ("problems", "mean", "se", "df", "low", "high")} == {
                key: expected[key] for key in ("problems", "mean", "se", "df", "low", "high")
            }
            assert row["verdict"] == expected["verdict"]
            assert row["variant"] == DIFFERENCES[row["difference"]]["variant"]


def test_the_table_says_in_words_where_an_interval_excludes_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Published(tmp_path / "store")
    made.evaluate("Over+RL", "sums", graded({"a": 0.25, "b": 0.5, "c": 0.0}))
    made.evaluate("Mod+RL", "sums", graded({"c": 0.5, "b": 1.0, "a": 1.0}))
    made.evaluate("Repaired+RL", "sums", graded({"c": 0.0, "b": 0.25, "d": 0.5}))
    found = differences.table(made.experiment, made.graph, made.store)
    assert found.head == ["benchmark", "Mod+RL-Over+RL", "Repaired+RL-Over+RL"]
    lines = {name: cells for name, *cells in found.cells()}
    assert lines["sums"] == ["+58.3 [+22.5, +94.2] higher", "-"]
    assert lines["ID avg"] == lines["avg"] == ["-", "-"]
    assert found.errors == ["Repaired+RL-Over+RL, sums: problems that only one of the two has: a, d"]
    results.show(made.study, as_json=False)
    printed = capsys.readouterr().out
    assert "+58.3 [+22.5, +94.2] higher" in printed and "higher, lower: the interval excludes 0" in printed
    assert f"error: {found.errors[0]}" in printed
    markdown = made.report("differences.md").read_text()
    assert r"| sums | +58.3 \[+22.5, +94.2\] higher | - |" in markdown


def test_an_artifact_that_does_not_say_its_problems_is_an_error_in_the_report(tmp_path: Path) -> None:
    made = Published(tmp_path / "id=1" / "store")  # a folder's name is no column
    for variant in ("Mod+RL", "Over+RL"):
        made.evaluate(variant, "sums", graded({"a": 0.5, "b": 0.25}))
    made.publish("Over+RL", "words", {"problems.parquet": "no table"})
    made.evaluate("Mod+RL", "words", graded({"a": 0.5, "b": 0.25}))
    found = differences.table(made.experiment, made.graph, made.store)
    cells = {name: line for name, *line in found.cells()}
    assert cells["sums"] == ["+0.0 [+0.0, +0.0]", "-"] and cells["words"] == ["-", "-"]
    assert [error.partition(": ")[0] for error in found.errors] == [f"{name}, words" for name in DIFFERENCES]
    assert all("no shares of its problems" in error for error in found.errors)


@pytest.mark.parametrize(
    ("difference", "message"),
    [
        ({"variant": "Ovr+RL", "reference": "Mod+RL"}, "variant='Ovr+RL': not a variant; did you mean 'Over+RL'?"),
        ({"variant": "Over+RL", "reference": "base"}, "reference='base': not a variant"),
        ({"variant": "Over+RL", "reference": "Over+RL"}, "reference='Over+RL': the variant itself; name another one"),
        ({"variant": "Over+RL"}, "reference: has no value"),
        ({"variant": "Over+RL", "reference": "Mod+RL", "benchmark": "sums"}, "benchmark: no such key"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_refused(difference: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Published(tmp_path / "store", differences={"Repair": difference})
    (found,) = caught.value.messages
    assert found.startswith(f"differences.Repair.{message}")


def test_what_is_left_out_takes_its_differences_along(tmp_path: Path) -> None:
    made = Published(tmp_path / "store", only=["Mod+RL", "Over+RL"])
    assert made.experiment.differences.keys() == {"Mod+RL-Over+RL"}


def members(*arguments: str) -> list[sweep.Member]:
    found: list[sweep.Member] = []

    def act(composed: list[Composed], search: bool) -> list[None]:
        found.extend(sweep.read(composed))
        return [None] * len(composed)

    config.sweep(list(arguments), act)
    return found


def test_differences_of_a_sweep_are_between_its_rows(tmp_path: Path) -> None:
    chosen = ("only=[ModSFT+RL,OverSFT+RL,Rejuvenation+RL]", f"store={tmp_path}")
    found = members("+experiment=tiny_math", "rejuvenate.alpha=0.4,0.5", *chosen)
    merged, graph = sweep.merge(found)
    pairs = {name: (each.variant, each.reference) for name, each in merged.differences.items()}
    assert pairs == {
        "ModSFT+RL-OverSFT+RL": ("ModSFT+RL", "OverSFT+RL"),
        "Rejuvenation+RL-OverSFT+RL@alpha=0.4": ("Rejuvenation+RL@alpha=0.4", "OverSFT+RL"),
        "Rejuvenation+RL-OverSFT+RL@alpha=0.5": ("Rejuvenation+RL@alpha=0.5", "OverSFT+RL"),
        "Rejuvenation+RL-ModSFT+RL@alpha=0.4": ("Rejuvenation+RL@alpha=0.4", "ModSFT+RL"),
        "Rejuvenation+RL-ModSFT+RL@alpha=0.5": ("Rejuvenation+RL@alpha=0.5", "ModSFT+RL"),
    }
    assert {name for pair in pairs.values() for name in pair} <= merged.variants.keys()
    first = found[0].graph.contamination  # the data is the same for all members
    assert {pair: node.fingerprint for pair, node in graph.contamination.items()} == {
        pair: node.fingerprint for pair, node in first.items()
    }
