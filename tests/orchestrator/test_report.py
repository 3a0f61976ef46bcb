"""The tables of results: the paper's averages with propagated errors, and that they say what the artifacts say."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import averages, contamination, report, results
from orchestrator.command import Study
from orchestrator.report import Score, Table, average
from tests.orchestrator.published import GROUPS, VARIANTS, Published, samples

pytestmark = pytest.mark.usefixtures("toys")


@pytest.fixture
def whole(toys: None, tmp_path: Path) -> Published:
    """A study whose evaluations are all published."""
    made = Published(tmp_path / "store")
    for number, cell in enumerate(made.graph.scores):
        made.evaluate(*cell, samples(made.k(cell[1]), seed=number))
    return made


def shown(study: Study, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `report --json` prints."""
    capsys.readouterr()
    results.show(study, as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_an_average_is_unweighted_and_its_error_propagated() -> None:
    found = average([Score(0.2, 0.03), Score(0.4, 0.04)])
    assert found is not None
    assert (found.mean, found.error) == (pytest.approx(0.3), pytest.approx(0.025))  # sqrt(0.03**2 + 0.04**2) / 2


def test_an_average_over_something_missing_is_missing() -> None:
    assert average([Score(0.2, 0.03), None]) is None
    assert average([]) is None


def test_an_average_of_numbers_without_error_has_none() -> None:
    assert average([Score(0.25), Score(0.5)]) == Score(0.375, None)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8))
def test_the_error_of_an_average_is_the_root_of_the_summed_squares(pairs: list[tuple[float, float]]) -> None:
    found = average([Score(*pair) for pair in pairs])
    assert found is not None and found.error is not None
    assert (found.error * len(pairs)) ** 2 == pytest.approx(sum(error**2 for _, error in pairs))


def test_the_result_table_is_written_for_people_and_for_programs(whole: Published, tmp_path: Path) -> None:
    table = Table(["sums", "ID avg"], {"ModSFT": [Score(0.512, 0.0123), None]})
    markdown, comma_separated, _ = report.write(table, whole.experiment, {}, tmp_path)
    assert markdown.read_text() == "| variant | sums | ID avg |\n| --- | ---: | ---: |\n| ModSFT | 51.2 ±1.2 | - |\n"
    assert rows(comma_separated) == [
        {"variant": "ModSFT", "sums": "0.512", "sums se": "0.0123", "ID avg": "", "ID avg se": ""}
    ]


def test_every_number_of_the_result_table_is_that_of_the_artifacts(
    whole: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    table = shown(whole.study, capsys)["table"]
    for variant in VARIANTS:
        cells = {name: whole.scores(variant, name) for name in whole.experiment.benchmarks}
        for name, scores in cells.items():
            assert table[variant][name] == {"mean": scores["pass@1"], "se": scores["pass@1_se"]}
        means = {}
        for group in ("ID", "OOD"):
            members = [cells[name]["pass@1"] for name in GROUPS if GROUPS[name] == group]
            means[group] = statistics.fmean(members)
            assert table[variant][f"{group} avg"]["mean"] == pytest.approx(means[group])
        assert table[variant]["avg"]["mean"] == pytest.approx((means["ID"] + means["OOD"]) / 2)


def test_scores_csv_has_every_number_of_every_evaluation(whole: Published, capsys: pytest.CaptureFixture[str]) -> None:
    listed = {(row["variant"], row["benchmark"]): row for row in shown(whole.study, capsys)["scores"]}
    written = {(row["variant"], row["benchmark"]): row for row in rows(whole.report("scores.csv"))}
    assert listed.keys() == written.keys() == whole.graph.scores.keys()
    for cell, row in written.items():
        numbers = whole.scores(*cell)
        assert {name: float(value) for name, value in row.items() if name in numbers} == numbers
        assert {name: listed[cell][name] for name in numbers} == numbers
        assert row["group"] == listed[cell]["group"] == GROUPS[cell[1]]
        assert not [name for name, value in row.items() if value and name not in {*numbers, *list(row)[:3]}]
    head = list(next(iter(written.values())))
    assert head[:8] == ["variant", "benchmark", "group", "n", "k", "pass@1", "pass@1_se", "pass@2"]


def test_every_average_beside_pass_at_1_is_that_of_the_artifacts(
    whole: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    found = shown(whole.study, capsys)["averages"]
    for variant in VARIANTS:
        means: dict[str, dict[str, float]] = {}
        for group in ("ID", "OOD"):
            cells = [whole.scores(variant, name) for name in GROUPS if GROUPS[name] == group]
            for key in averages.SHOWN:
                chosen = [cell for cell in cells if key != "gap" or cell["k"] > 1]  # one sample has no gap
                mean = statistics.fmean(cell[key] for cell in chosen)
                means.setdefault(key, {})[group] = mean
                assert found[f"{group} avg"][variant][key]["mean"] == pytest.approx(mean)
                if key in ("gap", "majority"):
                    variance = sum(cell[f"{key}_se"] ** 2 for cell in chosen) / len(chosen) ** 2
                    assert found[f"{group} avg"][variant][key]["se"] ** 2 == pytest.approx(variance)
        for key, both in means.items():
            assert found["avg"][variant][key]["mean"] == pytest.approx((both["ID"] + both["OOD"]) / 2)
    for row in rows(whole.report("averages.csv")):
        for key in averages.SHOWN:
            assert float(row[key]) == found[row["average"]][row["variant"]][key]["mean"]


def test_a_study_that_is_half_done_shows_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = Published(tmp_path / "store")
    half.evaluate("Over+RL", "sums", samples(4, seed=0))
    found = shown(half.study, capsys)
    assert found["table"]["Over+RL"]["sums"] is not None
    assert {name: score for name, score in found["table"]["Over+RL"].items() if score} == {
        "sums": found["table"]["Over+RL"]["sums"]
    }
    assert found["averages"]["ID avg"]["Over+RL"] == dict.fromkeys(averages.SHOWN)
    assert found["errors"] == []
    results.show(half.study, as_json=False)
    printed = capsys.readouterr().out
    assert "Over+RL" in printed
    assert "no average is published yet\nno difference is published yet\n" in printed


def test_an_evaluation_of_a_time_without_these_numbers_is_shown_as_far_as_it_goes(
    whole: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"n": 2, "k": 4, "pass@1": 0.5, "pass@1_se": 0.5, "pass@2": 0.5, "unparsed": 0.25, "truncated": 0.0}
    whole.publish("Over+RL", "sums", {"scores.json": json.dumps(old)})
    found = shown(whole.study, capsys)
    assert found["table"]["Over+RL"]["sums"] == {"mean": 0.5, "se": 0.5}
    assert found["averages"]["ID avg"]["Over+RL"]["gap"] is None
    assert found["averages"]["ID avg"]["Over+RL"]["unparsed"] is not None
    assert found["averages"]["ID avg"]["Mod+RL"]["gap"] is not None
    assert any("Mod+RL-Over+RL, sums" in error for error in found["errors"])
    results.show(whole.study, as_json=False)
    assert "error: Mod+RL-Over+RL, sums" in capsys.readouterr().out


@pytest.mark.parametrize("text", ['{"pass@1": 0.', "[1]", "\x00"])
def test_what_a_disk_has_spoilt_is_named_and_nothing_else_is_lost(
    text: str, whole: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    whole.publish("Over+RL", "sums", {"scores.json": text})
    whole.search("sums", "demonstrations", {"of another": 1})
    found = shown(whole.study, capsys)
    assert found["table"]["Over+RL"]["sums"] is found["table"]["Over+RL"]["ID avg"] is None
    assert found["table"]["Mod+RL"]["sums"] is not None
    assert found["contamination"] == [{"benchmark": "sums", "data": "demonstrations", "numbers": None}]
    spoilt, other = found["errors"][:2]
    assert "scores.json cannot be read (" in spoilt and "remove the folder, and run makes it again" in spoilt
    assert "summary.json cannot be read (it has no number share)" in other
    results.show(whole.study, as_json=False)
    assert f"error: {spoilt}" in capsys.readouterr().out


def test_what_is_not_finite_is_no_number(whole: Published, capsys: pytest.CaptureFixture[str]) -> None:
    whole.publish("Over+RL", "sums", {"scores.json": '{"n": 2, "k": 4, "pass@1": NaN, "majority": 0.5}'})
    found = shown(whole.study, capsys)
    assert found["table"]["Over+RL"]["sums"] is None
    assert next(each for each in found["scores"] if each["k"] == 4 and each["n"] == 2) == {
        **{"variant": "Over+RL", "benchmark": "sums", "group": "ID", "n": 2, "k": 4, "majority": 0.5}
    }


def test_contamination_is_shown_for_each_benchmark_and_kind_of_data(
    whole: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = {"problems": 500, "checked": 498, "contaminated": 12, "share": 0.024}
    whole.search("sums", "demonstrations", summary)
    whole.search("words", "demonstrations", None)
    whole.search("sums", "problems", None)
    found = contamination.table(whole.graph, whole.store)
    assert found.head == ["benchmark", "demonstrations", "problems"]
    assert found.cells() == [["sums", "2.4 % (12 of 500, 498 checked)", "-"], ["words", "-", "-"]]
    assert shown(whole.study, capsys)["contamination"] == [
        {"benchmark": "sums", "data": "demonstrations", "numbers": summary},
        {"benchmark": "words", "data": "demonstrations", "numbers": None},
        {"benchmark": "sums", "data": "problems", "numbers": None},
    ]
    assert rows(whole.report("contamination.csv")) == [
        {"benchmark": "sums", "data": "demonstrations"} | {key: str(value) for key, value in summary.items()}
    ]


def test_the_files_are_named_and_there(whole: Published, capsys: pytest.CaptureFixture[str]) -> None:
    files = [Path(file) for file in shown(whole.study, capsys)["files"]]
    assert [file.name for file in files] == [
        "table.md",
        "table.csv",
        "scores.csv",
        "averages.md",
        "averages.csv",
        "differences.md",
        "differences.csv",
    ]
    assert all(file.is_file() for file in files)


def test_the_terminal_shows_every_number_in_a_file_of_200_columns(
    whole: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    results.show(whole.study, as_json=False)
    printed = capsys.readouterr().out
    scores = report.scores_of(whole.experiment, whole.graph, whole.store)
    for cells in [
        *report.table(whole.experiment, scores).cells(),
        *averages.table(whole.experiment, scores).cells(),
    ]:
        assert any(line.split() == " ".join(cells).split() for line in printed.splitlines())
