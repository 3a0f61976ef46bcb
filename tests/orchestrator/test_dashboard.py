"""A study in W&B: runs for what has none, its tables, and the dashboard as W&B's server would be given it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from launch.tracking import Tracking
from orchestrator import dashboard, report, results, summary_run
from orchestrator.command import DONE, FAILED, Command, Study
from orchestrator.refusal import ConfigError
from stages.tracking import names
from tests.conftest import carry_out
from tests.orchestrator.published import SAMPLES, VARIANTS, Published, samples
from tests.stages.tracking.recorded import attempts, by_name, curve

pytestmark = pytest.mark.usefixtures("toys")

COMMAND = Command("dashboard", None, frozenset({"--json"}), [])


def tracked(study: Study, mode: str = "offline", **given: Any) -> Study:
    """A study that is recorded."""
    return replace(study, experiment=replace(study.experiment, tracking=Tracking(mode=mode, **given)))  # type: ignore[arg-type]


def evaluated(store: Path) -> Published:
    """One variant is evaluated on all benchmarks but one, another on one only."""
    published = Published(store)
    for name, k in SAMPLES.items():
        if name != "aime":
            published.evaluate("Repaired+RL", name, samples(k, seed=len(name)))
    published.evaluate("Mod+RL", "chains", samples(8, seed=1))
    return published


@pytest.mark.slow
def test_a_study_is_told_whole_and_told_again_it_is_told_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = evaluated(tmp_path / "store")
    study = tracked(published.study, generations=2)
    assert dashboard.verb(study, COMMAND) == DONE
    said = json.loads(capsys.readouterr().out)
    assert len(said["runs"]) == 5 + 2 + 1  # evaluations, variants with a score, the study
    assert {run["mode"] for run in said["runs"]} == {"offline"}
    assert not said["errors"] and not said["saved"] and "wandb.mode=online" in said["why"]

    runs = attempts(study.store.root)
    (whole,) = (run for run in runs if run.job_type == "study")
    table = report.table(study.experiment, report.scores_of(study.experiment, study.graph, study.store))
    cells = {
        f"{row}/{column}": cell.mean
        for row, found in table.rows.items()
        for column, cell in zip(table.columns, found, strict=True)
        if cell is not None
    }
    assert len(cells) == 8 and {name: whole.summary[name] for name in cells} == cells
    shown = _table(whole.file.parent, "results")
    assert shown["columns"][:3] == ["variant", table.columns[0], f"{table.columns[0]} se"]
    assert [row[0] for row in shown["data"]] == list(VARIANTS)
    assert shown["data"][0][table.columns.index("sums") * 2 + 1] is None  # what is not published is not made up

    variants = {run.name: run for run in runs if run.job_type == "variant"}
    assert variants.keys() == {"Mod+RL", "Repaired+RL"}
    repaired = variants["Repaired+RL"]
    assert repaired.config["toy_train"]["epochs"] == 1  # of the last training of its chain
    place = table.columns.index("avg")
    average = table.rows["Repaired+RL"][place]
    assert average is not None and repaired.summary["result/avg"] == average.mean

    assert dashboard.verb(study, COMMAND) == DONE  # the nodes have runs by now
    again = json.loads(capsys.readouterr().out)
    assert len(again["runs"]) == 2 + 1
    assert sorted(run.id for run in attempts(study.store.root)) == sorted(run.id for run in runs)


@pytest.mark.slow
def test_a_node_that_was_published_without_w_and_b_gets_its_run_from_the_artifact(tmp_path: Path) -> None:
    published = Published(tmp_path / "store")
    carry_out(published.graph, published.store)  # what can be run of it, without any tracking
    folder = tmp_path / "generations"
    folder.mkdir()
    node = next(node for node in published.graph.nodes.values() if node.stage == "toy_train")
    found = published.store.find(node.stage, node.fingerprint)
    assert found is not None and not (published.store.root / "wandb").exists()
    study = tracked(published.study)
    assert not dashboard._record(study)[1]
    run = next(run for run in attempts(published.store.root) if run.config.get("fingerprint") == node.fingerprint)
    assert (run.name, run.group, run.exit_code) == (f"toy_train/{node.label}", "toy", 0)
    assert run.used and run.made
    assert run.summary["node/folder"] == str(found)


@pytest.mark.slow
def test_curves_and_generations_of_an_artifact_are_shown_and_hostile_ones_are_text(tmp_path: Path) -> None:
    published = Published(tmp_path / "store")
    texts = ["<script>alert(1)</script>", "\x1b[31mred\x1b[0m", "x" * 9000, "never shown"]
    rows = [
        {"problem": n, "sample": s, "prompt": f"{n}?", "completion": text, "extracted": None, "gold": "1",
         "correct": None if n else False, "error": "timeout" if n else None, "tokens": 3}
        for n, text in enumerate(texts) for s in (0, 1)
    ]  # fmt: skip
    draft = tmp_path / "draft"
    draft.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), draft / "generations.parquet")
    variant, name = "Mod+RL", "sums"
    published.publish(variant, name, {"scores.json": '{"pass@1": 0.5}', "training.jsonl": _rows(), "other.txt": ""})
    node = published.graph.scores[variant, name]
    folder = published.store.find(node.stage, node.fingerprint)
    assert folder is not None
    (draft / "generations.parquet").rename(folder / "generations.parquet")
    study = tracked(published.study, generations=3)
    assert not dashboard._record(study)[1]
    run = by_name(published.store.root)[f"{node.stage}/{node.label}"]
    assert curve(run, "evaluate/reward") == [(1, 0.25), (2, 0.5)]
    table = _table(run.file.parent, "generations")
    shown = [row[table["columns"].index("completion")] for row in table["data"]]
    assert shown[:2] == texts[:2] and len(shown) == 3
    assert shown[2] == "x" * 4000 + " ... (5000 more characters)"


@pytest.mark.slow
def test_the_dashboard_has_the_sweep_the_dynamics_and_the_results(tmp_path: Path) -> None:
    study = tracked(Published(tmp_path / "store").study)
    made = dashboard._make(study)
    assert made["saved"] is False
    workspace, page = (json.loads(Path(made[what]).read_text()) for what in ("workspace", "report"))
    sections = {each["name"]: each["panels"] for each in workspace["section"]["panelBankConfig"]["sections"]}
    assert list(sections) == ["Results", "Alpha and rho", "RL dynamics", "Supervised training", "Generations"]
    configs = [panel["config"] for panel in sections["Alpha and rho"]]
    axes = {(config.get("xAxis"), config.get("yAxis")) for config in configs}
    assert ("config:rejuvenate.value.alpha", "summary:result/ID avg") in axes
    assert ("config:rejuvenate.value.rho", "summary:result/OOD avg") in axes
    assert [column["accessor"] for column in configs[0]["columns"]][:2] == [
        "config:rejuvenate.value.alpha",
        "config:rejuvenate.value.rho",
    ]
    curves = {metric for panel in sections["RL dynamics"] for metric in panel["config"]["metrics"]}
    assert curves >= {"grpo/reward", "grpo/gradient_norm", "grpo/entropy", "grpo/kl", "grpo/clip_share"}
    assert all(panel["config"]["groupBy"] == "label.value" for panel in sections["RL dynamics"])
    bars = {panel["config"]["chartTitle"] for panel in sections["Results"] if panel["viewType"] == "Bar Chart"}
    assert bars == set(report.columns_of(study.experiment))
    filters = json.dumps(workspace["section"]["runSets"][0]["filters"])
    assert '"group"' in filters and '"toy"' in filters
    grids = [block for block in page["blocks"] if block["type"] == "panel-grid"]
    assert len(grids) == len(sections)
    assert '"jobType"' in json.dumps(grids[1]["metadata"]["runSets"]) and '"variant"' in json.dumps(grids[1])


@pytest.mark.slow
def test_online_without_a_server_is_said_and_is_no_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    study = tracked(Published(tmp_path / "store").study, mode="online")
    assert dashboard.verb(study, COMMAND) == FAILED
    said = json.loads(capsys.readouterr().out)
    assert said["saved"] is False and "does not answer" in said["why"]
    assert Path(said["report"]).is_file()


def test_without_w_and_b_there_is_no_dashboard(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wandb.mode=disabled: a dashboard is in W&B; allowed: offline, online"):
        dashboard.verb(Published(tmp_path / "store").study, COMMAND)


def test_without_the_client_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "find_spec", lambda name: None)
    study = tracked(Published(tmp_path / "store").study)
    with pytest.raises(ConfigError, match=r"not installed: wandb, wandb_workspaces; pip install -e '\.\[wandb\]'"):
        dashboard.verb(study, COMMAND)
    assert not (study.store.root / "wandb").exists()


def test_at_the_end_of_a_run_nothing_is_said_without_w_and_b(tmp_path: Path) -> None:
    published = Published(tmp_path / "store")
    summary_run.after_run(published.study, results.read(published.study))
    assert not (published.store.root / "wandb").exists()


def test_ids_are_of_the_fingerprint_and_of_the_store(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert names.of_node(one, "a" * 64) == names.of_node(one, "a" * 64)
    assert names.of_node(one, "a" * 64).startswith("a" * 16)
    for store in (one, other):
        word = (store / "wandb" / names.WORD).read_text() if store is one else "beef"
        (store / "wandb").mkdir(parents=True, exist_ok=True)
        (store / "wandb" / names.WORD).write_text(word)
        assert names.of_node(store, "a" * 64).endswith(word)
    assert names.of_study(one, "tiny") != names.of_study(one, "tiny", "ModSFT")


def _table(folder: Path, name: str) -> dict[str, Any]:
    """The table that the client wrote for a run."""
    (file,) = (folder / "files" / "media" / "table").glob(f"{name}_*.table.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _rows() -> str:
    return "".join(json.dumps({"step": step, "reward": step / 4}) + "\n" for step in (1, 2))
