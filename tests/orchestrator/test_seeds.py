"""Seeds: variants run with each of them as if each had been asked for alone, and tables show them as one row."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import config, results, sweep
from orchestrator.__main__ import main
from orchestrator.command import WRONG
from orchestrator.diagnoses import Diagnoses
from orchestrator.experiment import Experiment
from orchestrator.graph import Graph
from tests.orchestrator.published import Published, graded, samples

SHORT = ["+experiment=tiny_math", "benchmark=[tiny_sums]"]


def planned(store: Path, *overrides: str) -> tuple[Experiment, Graph]:
    return sweep.merge(sweep.read([config.compose([*SHORT, f"store={store}", *overrides])]))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == WRONG
    return capsys.readouterr().err


def test_a_replica_is_the_variant_of_that_seed(tmp_path: Path) -> None:
    chosen = "only=[ModSFT,ModSFT+RL,RandomReset]"
    found, graph = planned(tmp_path, "seeds=[11,12]", "replicated=[ModSFT,RandomReset]", chosen)
    _, eleven = planned(tmp_path, "seed=11", chosen)
    _, twelve = planned(tmp_path, "seed=12", "only=[ModSFT,RandomReset]")
    assert graph.nodes.keys() == eleven.nodes.keys() | twelve.nodes.keys()
    assert found.replicas == {
        "ModSFT": ["ModSFT@seed=11", "ModSFT@seed=12"],
        "ModSFT+RL": ["ModSFT+RL"],  # with the first seed alone
        "RandomReset": ["RandomReset@seed=11", "RandomReset@seed=12"],
    }
    assert found.seeded_variants["ModSFT+RL"] == {11: "ModSFT+RL"}
    assert found.seeded_diagnoses["ModSFT-base"] == {11: "ModSFT-base@seed=11", 12: "ModSFT-base@seed=12"}
    assert found.seeded_diagnoses["ModSFT+RL-ModSFT"] == {11: "ModSFT+RL-ModSFT"}
    assert found.name == "tiny_math"
    for seed, label in found.seeded_variants["RandomReset"].items():
        rejuvenated = graph.variants[label]["checkpoint"]
        assert rejuvenated.config["seed"] == seed  # type: ignore[union-attr]


def test_without_seeds_every_variant_is_a_row_of_its_own(tmp_path: Path) -> None:
    found, _ = planned(tmp_path, "only=[ModSFT,OverSFT]")
    assert found.replicas == {"ModSFT": ["ModSFT"], "OverSFT": ["OverSFT"]}
    assert found.seeded_variants == {"ModSFT": {0: "ModSFT"}, "OverSFT": {0: "OverSFT"}}
    one, _ = planned(tmp_path, "only=[ModSFT]", "seeds=[7]")
    assert (one.replicas, one.name) == ({"ModSFT": ["ModSFT"]}, "tiny_math")


def test_the_protocol_is_told_in_paragraphs(tmp_path: Path) -> None:
    composed = config.compose(["+experiment=tiny_paper", "only=[ModSFT]", f"store={tmp_path}"])
    found, _ = sweep.merge(sweep.read([composed]))
    paragraphs = found.protocol.split("\n\n")
    assert [each.partition(".")[0] for each in paragraphs if "\n" not in each] == [
        "Chosen on ModSFT and OverSFT alone",
        "Also known before: seeds 0, 1 and 2 of ModSFT with RL, and seed 0 of the other rows of tiny_math and "
        "tiny_variants, rejuvenated ones among them, had been run on this world and are in the README",
        "Run once",
        "Known before",
        "Seeds",
        "Intervals cover 95 % or more: Student's t over seeds and problems, which are crossed since all seeds answer "
        "the same problems, put together as Banerjee does",
        "Claims",
    ]


def test_a_sweep_of_replicas_shows_a_row_for_each_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    merged: list[Experiment] = []

    def act(composed: list[config.Composed], search: bool) -> list[None]:
        merged.append(sweep.merge(sweep.read(composed))[0])
        return [None] * len(composed)

    sets = ["seeds=[1,2]", "only=[OverSFT,Rejuvenation]", "rejuvenate.alpha=0.4,0.6"]
    config.sweep([*SHORT, f"store={tmp_path}", *sets], act)  # type: ignore[arg-type]
    assert merged[0].name == "tiny_math@alpha"
    assert merged[0].replicas == {
        "OverSFT": ["OverSFT@seed=1", "OverSFT@seed=2"],
        "Rejuvenation@alpha=0.4": ["Rejuvenation@alpha=0.4,seed=1", "Rejuvenation@alpha=0.4,seed=2"],
        "Rejuvenation@alpha=0.6": ["Rejuvenation@alpha=0.6,seed=1", "Rejuvenation@alpha=0.6,seed=2"],
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seeds=[1,1]", "seeds=[1,1]: 1 is there twice"),
        ("seeds=[-1]", "seeds.0=-1: input should be greater than or equal to 0"),
        ("seeds=[x]", "seeds.0='x': input should be a valid integer"),
        ("replicated=[ModSTF]", "replicated: 'ModSTF' is not a variant; did you mean 'ModSFT'?"),
    ],
)
def test_bad_seeds_are_refused(override: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = refused(capsys, "plan", *SHORT, f"store={tmp_path}", override)
    assert message in printed
    assert printed.count("error: ") == 1


def test_a_seed_beside_seeds_has_no_effect_and_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = refused(capsys, "plan", *SHORT, f"store={tmp_path}", "seeds=[1,2]", "seed=3")
    assert printed == "error: seed=3: has no effect, since seeds=[1,2]; set seeds, or 'seeds=[]' and seed\n"


def test_tiny_paper_is_the_sweep_that_was_started_before_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def fingerprints(*arguments: str) -> set[str]:
        main(["plan", "--json", *arguments, f"store={tmp_path}"])
        return {node["fingerprint"] for node in json.loads(capsys.readouterr().out)["nodes"]}

    ours = fingerprints("+experiment=tiny_paper", "only=[Rejuvenation+RL,SFT-32+RL]")
    theirs = fingerprints("-m", "+experiment=tiny_variants", "seed=11,12,13", "only=[Rejuvenation+RL]")
    assert theirs < ours and len(ours - theirs) == 5  # RL from OverSFT with the first seed, and its four evaluations


@pytest.mark.usefixtures("toys")
def test_tables_show_the_mean_over_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Published(tmp_path / "store", seeds=(11, 12, 13))
    for seed, share in {11: 0.0, 12: 0.25, 13: 1.0}.items():
        made.evaluate(f"Over+RL@seed={seed}", "sums", graded(dict.fromkeys("abcd", share)))
        made.evaluate(f"Mod+RL@seed={seed}", "sums", graded(dict.fromkeys("abcd", 0.5)))
    made.evaluate("Repaired+RL@seed=12", "sums", graded(dict.fromkeys("abcd", 0.75)))
    results.show(made.study, as_json=True)
    found = json.loads(capsys.readouterr().out)
    over = found["table"]["Over+RL"]["sums"]
    error = np.std([0.0, 0.25, 1.0], ddof=1) / 3**0.5  # all problems are alike and add nothing
    assert over["mean"] == pytest.approx(1.25 / 3) and over["se"] == pytest.approx(error)
    assert over["high"] == pytest.approx(1.25 / 3 + 4.302653 * error) and over["seeds"] == 3
    assert 0.0 <= over["bootstrap_low"] < over["mean"] < over["bootstrap_high"] <= 1.0
    assert found["table"]["Over+RL"]["ID avg"] is None  # chains are missing
    assert found["table"]["Repaired+RL"]["sums"]["seeds"] == 1
    mod = found["differences"]["Mod+RL-Over+RL"]["sums"]
    assert mod["mean"] == pytest.approx(0.5 - 1.25 / 3) and mod["se"] == pytest.approx(error)
    assert (mod["seeds"], mod["verdict"]) == (3, "")
    assert found["differences"]["Repaired+RL-Over+RL"]["sums"]["seeds"] == 1  # 0.75 less 0.25, of seed 12
    assert found["differences"]["Repaired+RL-Over+RL"]["sums"]["mean"] == pytest.approx(0.5)
    assert len(found["scores"]) == 7  # every seed of its own
    results.show(made.study, as_json=False)
    printed = capsys.readouterr().out
    assert "75.0 ±0.0 (1/3)" in printed and "over seeds and problems" in printed
    assert "+50.0 [+50.0, +50.0] higher (1/3)" in " ".join(printed.split())
    with made.report("table.csv").open(newline="") as stream:
        rows = {row["variant"]: row for row in csv.DictReader(stream)}
    assert list(rows) == ["Mod+RL", "Over+RL", "Repaired+RL"]
    assert float(rows["Over+RL"]["sums high"]) == over["high"] and rows["Over+RL"]["sums seeds"] == "3"


@pytest.mark.usefixtures("toys")
def test_every_number_over_seeds_is_that_of_the_artifacts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Published(tmp_path / "store", seeds=(1, 2, 3))
    for number, cell in enumerate(made.graph.scores):
        made.evaluate(*cell, samples(made.k(cell[1]), seed=number))
    results.show(made.study, as_json=True)
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    for shown, variants in made.experiment.replicas.items():
        cells = {name: [made.scores(each, name) for each in variants] for name in made.experiment.benchmarks}
        means = {name: np.mean([each["pass@1"] for each in of]) for name, of in cells.items()}
        for name, mean in means.items():
            assert found["table"][shown][name]["mean"] == pytest.approx(mean)
        ood = (means["words"] + means["choice"]) / 2
        overall = ((means["sums"] + means["chains"]) / 2 + ood) / 2
        assert found["table"][shown]["OOD avg"]["mean"] == pytest.approx(ood)
        assert found["table"][shown]["avg"]["mean"] == pytest.approx(overall)
        averages = found["averages"]["OOD avg"][shown]
        assert averages["gap"]["mean"] == pytest.approx(np.mean([each["gap"] for each in cells["words"]]))  # K > 1
        tokens = [np.mean([of[seed]["mean_tokens"] for of in (cells["words"], cells["choice"])]) for seed in range(3)]
        assert averages["mean_tokens"]["mean"] == pytest.approx(np.mean(tokens))
        assert averages["mean_tokens"]["se"] is None and averages["majority"]["se"] is not None


def test_diagnoses_show_the_mean_over_seeds() -> None:
    found: dict[str, Any] = {
        "A@seed=1": {"entropy": 0.1, "in": "q"},
        "A@seed=2": {"entropy": 0.3, "in": "k"},
        "B": None,
    }
    table = Diagnoses(found, {"A": ["A@seed=1", "A@seed=2"], "B": ["B"]})
    assert table.head == ["number", "A", "B"]
    assert table.cells() == [["entropy", "0.2 ±0.1", "-"], ["in", "q", "-"]]
