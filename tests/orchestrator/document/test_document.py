"""The report as a document: every number is the artifacts', what is missing says so, and no text is more than text."""

from __future__ import annotations

import csv
import json
import statistics
from pathlib import Path
from typing import Any

import pytest

from orchestrator.claims import Judged
from orchestrator.document import files, html, markdown
from orchestrator.document.blocks import (
    Cell,
    Command,
    Document,
    Folded,
    Items,
    Missing,
    Paragraph,
    Row,
    Section,
    Table,
)
from orchestrator.document.figures import gallery
from orchestrator.graph import Node
from tests.orchestrator.document.synthetic import TOKENS, Synthetic
from tests.orchestrator.test_page import Parsed


def claim(name: str, **fields: Any) -> Judged:
    """A verdict made by hand."""
    made: dict[str, Any] = {
        "name": name,
        "claim": f"Over-training lowers {name}",
        "source": "table 1",
        "verdict": "holds",
        "estimate": -0.5,
        "low": -0.7,
        "high": -0.3,
        "published": -0.16,
        "unit": "nats",
        "seeds": (3, 3),
        "numbers": "0.2 against 0.7",
        "missing": [],
        "parts": [],
    }
    return Judged(**{**made, **fields})


#: One of each kind.
CLAIMS = [
    claim("entropy"),
    claim("gain", verdict="cannot tell", estimate=None, low=None, high=None, missing=["grpo/OverSFT+RL"]),
    claim("all", verdict="does not hold", estimate=None, parts=[claim("one", verdict="does not hold"), claim("other")]),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Synthetic:
    """A study that is done; nobody changes it."""
    made = Synthetic(tmp_path_factory.mktemp("whole") / "store")
    made.publish()
    return made


@pytest.fixture(scope="module")
def document(whole: Synthetic) -> Document:
    return whole.document(CLAIMS)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No figure but the graph: drawing them takes most of the time, and is not what the test is about."""
    monkeypatch.setattr(gallery, "PAPER", {})
    monkeypatch.setattr(gallery, "OURS", {})


def rows(document: Document, table: str) -> dict[str, dict[str, Cell]]:
    """Row -> head -> cell of a table."""
    found = next(each for each in document.tables() if each.name == table)
    return {row.name or row.cells[0].text: dict(zip(found.head, row.cells, strict=True)) for row in found.rows}


def test_a_whole_study_has_every_figure_and_table_but_the_sweeps(document: Document) -> None:
    assert document.state.startswith("complete: all ")
    assert [each.what for each in document.missing()] == ["Sweep over α"]
    assert {each.name for each in document.figures()} >= {f"figure{number:02d}" for number in range(2, 14)}
    assert {each.name for each in document.tables()} >= {"table1", "table2", "table4", "table7", "claims", "costs"}


def test_the_answer_comes_first_and_the_protocol_last(document: Document) -> None:
    order = [section.key for section in document.sections]
    assert order[:4] == ["answer", "state", "claims", "results"]
    assert order[-3:] == ["graph", "provenance", "protocol"]


def test_every_number_of_the_tables_is_that_of_the_artifacts(whole: Synthetic, document: Document) -> None:
    graph, found = whole.study.graph, rows(document, "all")
    for name in whole.study.experiment.variants:
        means: dict[str, list[float]] = {"ID": [], "OOD": []}
        for benchmark, of in whole.study.experiment.benchmarks.items():
            scores = json.loads((whole.folder(graph.scores[name, benchmark]) / "scores.json").read_text())
            cell = found[name][benchmark]
            assert (cell.value, cell.error) == (scores["pass@1"], scores["pass@1_se"])
            assert cell.text == f"{100 * scores['pass@1']:.1f}"
            means[of.group].append(scores["pass@1"])
        averages = {group: statistics.fmean(values) for group, values in means.items()}
        assert found[name]["ID avg"].value == pytest.approx(averages["ID"])
        assert found[name]["OOD avg"].value == pytest.approx(averages["OOD"])
        assert found[name]["avg"].value == pytest.approx(statistics.fmean(averages.values()))
    table2 = rows(document, "table2")
    for name in ("ModSFT", "ModSFT+RL", "OverSFT", "Rejuvenation+RL"):
        assert table2[name]["Avg."].value == found[name]["avg"].value


def test_a_row_after_rl_has_its_gain_over_its_start(document: Document) -> None:
    found = rows(document, "table2")
    before, after = found["OverSFT"]["Avg."].value, found["OverSFT+RL"]["Avg."].value
    assert before is not None and after is not None
    assert found["OverSFT+RL"]["Avg."].behind.endswith(f"({100 * (after - before):+.1f})")


def test_one_seed_marks_no_highest_value_and_every_table_says_its_seeds(document: Document) -> None:
    scored = [table for table in document.tables() if table.name in ("table2", "table4", "table7", "all")]
    assert len(scored) == 4
    for table in scored:
        assert not any(cell.mark for row in table.rows for cell in row.cells)
        assert "Seed 0 alone: one run of each row." in table.caption
        assert "one seed does not tell rows apart" in table.caption


def test_table_1_has_loss_and_entropy_of_the_records(whole: Synthetic, document: Document) -> None:
    found = rows(document, "table1")["OverSFT"]
    node = whole.study.graph.variants["OverSFT"]["checkpoint"]
    diagnosis = whole.study.graph.diagnoses["OverSFT-base"]
    loss, entropy = (
        json.loads((whole.folder(each) / "record.json").read_text())["summary"][key]  # type: ignore[arg-type]
        for each, key in ((node, "loss"), (diagnosis, "entropy_checkpoint"))
    )
    assert (found["training loss"].value, found["entropy"].value) == (loss, entropy)


def test_costs_are_sums_over_the_records(whole: Synthetic, document: Document) -> None:
    found = rows(document, "costs")
    runs = sum(node.stage == "grpo" for node in whole.nodes)
    assert [cell.value for cell in found["grpo"].values()][1:] == [runs, 90 * runs, 90 * runs * 2 / 3600, 3.0, 1.5]
    assert found["all"]["nodes"].value == len(whole.nodes)


def test_a_verdict_says_its_numbers_and_what_is_missing_for_it(document: Document) -> None:
    found = rows(document, "claims")
    assert list(found) == [f"Over-training lowers {name}" for name in ("entropy", "gain", "all", "one", "other")]
    entropy, gain = found["Over-training lowers entropy"], found["Over-training lowers gain"]
    assert (entropy["verdict"].text, gain["verdict"].text) == ("✓ holds", "? cannot tell")
    assert entropy["estimate [95 % interval]"].text == "-0.5 [-0.7, -0.3] nats"
    assert gain["estimate [95 % interval]"].text == "-"
    text = markdown.render(document)
    assert "Of 3 claims 1 holds, 1 does not hold, 1 waits for what is missing." in text
    assert "- grpo/OverSFT+RL" in text and "0.2 against 0.7" in text


def test_one_seed_gives_no_answer_and_says_what_would(document: Document) -> None:
    lead, why, command, folded, *_ = document.sections[0].blocks
    assert isinstance(why, Paragraph) and "Another training of the same row may end elsewhere" in why.text
    assert isinstance(lead, Paragraph) and lead.kind == "lead"
    assert lead.text.startswith("No answer yet: each of the 7 rows after RL has one seed")
    assert isinstance(command, Command)
    assert command.text.startswith("python -m orchestrator run +experiment=tiny_variants ")
    assert command.text.endswith("'seeds=[0,1,2]'")
    assert isinstance(folded, Folded) and "decides nothing" in folded.title
    (items,) = folded.blocks
    assert isinstance(items, Items)
    assert items.texts[0].startswith("Rejuvenating OverSFT (Rejuvenation) changes the overall average by")
    assert all(text.endswith("(one seed: the interval is over its problems alone).") for text in items.texts)
    front = markdown.render(document).partition("## State")[0]
    assert not any(word in front for word in ("Start RL from", "better", "worse", "highest"))


@pytest.mark.usefixtures("undrawn")
def test_a_study_of_which_nothing_is_there_has_a_report(tmp_path: Path) -> None:
    made = Synthetic(tmp_path / "store").document()
    assert made.partial and made.state.startswith("partial: 0 of ")
    lead, _, command = made.sections[0].blocks
    assert isinstance(lead, Paragraph) and lead.text.startswith("No answer yet: each of the 7 rows after RL has one")
    assert isinstance(command, Command) and command.text.startswith("python -m orchestrator run +experiment=tiny_vari")
    assert [each.name for each in made.figures()] == ["graph"]
    assert html.render(made).endswith("</html>")


@pytest.mark.usefixtures("undrawn")
def test_a_deleted_evaluation_is_missing_and_the_command_that_makes_it_is_said(tmp_path: Path) -> None:
    half = Synthetic(tmp_path / "store")
    half.publish()
    half.remove(half.study.graph.scores["OverSFT+RL", "tiny_sums"])
    made = half.document()
    assert made.partial
    said = {each.what: each for each in made.missing()}
    assert said["OverSFT+RL"].why == "evaluate/OverSFT+RL.tiny_sums"
    assert said["OverSFT+RL"].command.endswith("'only=[OverSFT+RL]'")
    found = rows(made, "table2")["OverSFT+RL"]
    assert (found["tiny_sums"].text, found["Avg."].text) == ("–", "–")
    assert found["tiny_words"].value is not None


@pytest.mark.parametrize("published", [False, True])
def test_whatever_is_missing_names_the_command_that_makes_it(tmp_path: Path, published: bool) -> None:
    study = Synthetic(tmp_path / "store", "only=[ModSFT,ModSFT+RL]")
    if published:
        study.publish(node for node in study.nodes if node.stage in ("pretrain", "sft"))
    made = study.document()
    missing = made.missing()
    assert len(missing) > 10
    run = "python -m orchestrator run "
    assert [each.what for each in missing if not each.command.startswith(run)] == []
    swept = next(each for each in missing if each.what == "Sweep over α")
    assert swept.why == "the study does not sweep alpha; another experiment has it"
    assert swept.command == f"{run}+experiment=tiny_paper store={tmp_path}/store"
    training = next(each for each in missing if each.what == "Training dynamics of RL")
    assert training.command == f"{run}+experiment=tiny_variants store={tmp_path}/store 'only=[ModSFT+RL]'"


def test_what_cannot_be_read_is_named_and_nothing_else_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Synthetic(tmp_path / "store")
    study.publish()
    graph = study.study.graph
    study.rewrite(graph.diagnoses["Rejuvenation-OverSFT"], "targets.parquet", b"no parquet")
    wanted = ("Figure 4", "Figure 7", "Figure 9")
    chosen = {name: make for name, make in gallery.PAPER.items() if name.startswith(wanted)}
    monkeypatch.setattr(gallery, "PAPER", chosen)
    run = graph.variants["OverSFT+RL"]["checkpoint"]
    study.rewrite(run, "training.jsonl", b'{"rollout": 1}\n{"rollo')  # type: ignore[arg-type]
    made = study.document()
    (lost,) = (each for each in made.missing() if each.what.startswith("Figure 9"))
    assert "targets.parquet cannot be read" in lost.why
    folder = study.folder(graph.diagnoses["Rejuvenation-OverSFT"])
    assert lost.command.startswith(f"rm -r {folder} && python -m orchestrator run ")
    assert {each.name for each in made.figures()} >= {"figure04", "figure07", "rl_dynamics"}


def test_what_another_version_wrote_costs_its_own_figure_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Synthetic(tmp_path / "store")
    study.publish()
    graph = study.study.graph
    study.rewrite(
        graph.diagnoses["Rejuvenation-OverSFT"], "target_tokens.parquet", _with_columns(text=[None], count=["a"])
    )
    study.rewrite(next(iter(graph.scores.values())), "scores.json", b"{")
    study.rewrite(graph.variants["Rejuvenation"]["checkpoint"], "summary.json", b'{"alpha": 1}')  # type: ignore[arg-type]
    for run in (each for each in study.nodes if each.stage == "grpo"):
        study.rewrite(run, "training.jsonl", b'{"rollout": 1, "reward": null}\n{"rollout": 2, "reward": "x"}\n')
    wanted = ("Figure 8", "Figure 9", "Figure 10")
    chosen = {name: make for name, make in gallery.PAPER.items() if name.startswith(wanted)}
    monkeypatch.setattr(gallery, "PAPER", chosen)
    made = study.document()
    missing = {each.what: each.why for each in made.missing()}
    assert missing["Figure 8 (selected tokens)"].startswith("what it is of cannot be drawn (AttributeError: ")
    assert missing["Training dynamics of RL"].startswith("the runs have recorded none of reward")
    assert "Figure 10 (reset ratio)" in missing
    assert "scores.json cannot be read" in missing["A file of an artifact"]
    assert {each.name for each in made.figures()} >= {"figure09", "sft_dynamics"}


@pytest.mark.usefixtures("undrawn")
def test_fields_of_a_record_that_hold_something_else_are_unknown(tmp_path: Path) -> None:
    study = Synthetic(tmp_path / "store")
    study.publish(seconds="90", attempts=[1, 2], git="0123", resources=[], peak_memory="3 GB", host=None)
    made = study.document()
    assert rows(made, "costs")["grpo"]["seconds"].text == "unknown"


@pytest.mark.usefixtures("undrawn")
def test_records_of_another_time_are_unknown_and_no_error(tmp_path: Path) -> None:
    study = Synthetic(tmp_path / "store")
    old = dict.fromkeys(("git", "packages", "resources", "seconds", "peak_memory", "host", "python"))
    study.publish(**old)
    diagnosis = study.study.graph.diagnoses["ModSFT-base"]
    study.rewrite(diagnosis, "ranks.parquet", _with_columns(model=["checkpoint"]))
    made = study.document()
    assert rows(made, "costs")["grpo"]["seconds"].text == "unknown"
    assert "unknown" in {row.cells[1].text for row in next(t for t in made.tables() if t.name == "provenance").rows}


def _with_columns(**columns: list[Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


@pytest.mark.usefixtures("undrawn")
def test_differing_commits_are_said(tmp_path: Path) -> None:
    study = Synthetic(tmp_path / "store")
    study.publish(study.nodes[:3])
    study.publish(study.nodes[3:], git={"commit": "fedcba", "dirty": True})
    text = markdown.render(study.document())
    assert "made by 2 states of the code" in text
    assert "changes that no commit has" in text


@pytest.mark.slow  # it draws every figure
def test_the_files_are_there_and_those_of_an_earlier_report_are_gone(whole: Synthetic, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "old.csv").write_text("1")
    (tmp_path / "report.html").write_text("an earlier report")
    made = whole.write(tmp_path)
    names = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    expected = {"report.html", "report.md"}
    expected |= {f"tables/{table.name}.{kind}" for table in made.tables() for kind in ("csv", "tex", "md")}
    expected |= {f"figures/{figure.name}.{kind}" for figure in made.figures() for kind in ("svg", "png")}
    assert names == expected
    with (tmp_path / "tables" / "table2.csv").open(newline="") as stream:
        found = {row["method"]: row for row in csv.DictReader(stream)}
    cell = rows(made, "table2")["OverSFT+RL"]["tiny_sums"]
    assert (float(found["OverSFT+RL"]["tiny_sums"]), float(found["OverSFT+RL"]["tiny_sums se"])) == (
        cell.value,
        cell.error,
    )


@pytest.mark.slow  # it draws every figure
def test_a_report_of_the_same_store_has_the_same_bytes(whole: Synthetic, document: Document) -> None:
    again = whole.document(CLAIMS)
    pairs = zip(again.figures(), document.figures(), strict=True)
    assert [each.name for each, before in pairs if (each.svg, each.png) != (before.svg, before.png)] == []
    assert html.render(again) == html.render(document)


def test_hostile_tokens_are_drawn_and_are_no_markup(document: Document) -> None:
    cloud = next(each for each in document.figures() if each.name == "figure08")
    assert TOKENS[1] not in cloud.svg and "<script" not in cloud.svg
    page = html.render(document)
    assert "\x1b" not in page and "<script" not in page
    parsed = Parsed(page)
    assert parsed.tags("script") == []
    assert all(str(image["src"]).startswith("data:image/svg+xml;base64,") for image in parsed.tags("img"))


def test_hostile_names_are_text_in_every_form(document: Document) -> None:
    from dataclasses import replace

    from orchestrator.document import latex

    text = "</td><img src=x onerror=alert(1)> | `x` \\input{x} $y$ \x1b[2J"
    table = Table(name="t", title=text, head=["a", text], rows=[Row([Cell(text), Cell(text, text)])], caption=text)
    plain = replace(
        document, sections=[Section("s", "s", [replace(table, title="", head=["a", ""], rows=[], caption="c")])]
    )
    hostile = replace(
        document, title=text, question=text, sections=[Section("s", text, [table, Missing(text, text, text)])]
    )
    parsed = Parsed(html.render(hostile))
    assert {name for name, _ in parsed.elements} <= {name for name, _ in Parsed(html.render(plain)).elements} | {
        "td",
        "div",
        "strong",
        "pre",
        "code",
        "small",
        "tr",
        "p",
    }
    assert parsed.tags("img") == []
    assert "<U+001B>" in parsed.text
    assert "\x1b" not in markdown.render(hostile) and "<img" not in markdown.table(table)
    tex = latex.render(table)
    starred = replace(table, rows=[Row([Cell(text), Cell("1")]) for text in ("[2pt]", "*", "a")])
    assert [line.split(" & ")[0].strip() for line in latex.render(starred).splitlines()[9:12]] == [
        "{}[2pt]",
        "{}*",
        "a",
    ]
    assert r"\input" not in tex and r"\textbackslash{}input\{x\}" in tex
    assert tex.count("{") - tex.count(r"\{") == tex.count("}") - tex.count(r"\}")


def test_a_folder_that_has_no_report_keeps_its_files(tmp_path: Path) -> None:
    """A config says where reports go; somebody's own folder `figures` may be there."""
    own = tmp_path / "figures" / "own.png"
    own.parent.mkdir()
    own.write_text("1")
    document = Document("t", "", "", False, [])
    files.write(document, tmp_path)
    assert own.exists()
    files.write(document, tmp_path)
    assert not own.exists()  # now it is a report's folder


def test_half_a_character_of_a_record_is_shown_by_its_number(tmp_path: Path) -> None:
    text = "\ud800x"  # as JSON may have it, and UTF-8 may not
    table = Table(name="t", title=text, head=["a"], rows=[Row([Cell(text)])], caption=text)
    files.write(Document(text, text, text, False, [Section("s", text, [table])]), tmp_path)
    assert (tmp_path / "tables" / "t.csv").read_text().splitlines() == ["a", "<U+D800>x"]
    assert "U+D800" in (tmp_path / "report.md").read_text() and "U+D800" in (tmp_path / "tables" / "t.tex").read_text()
    assert "<U+D800>x" in Parsed((tmp_path / "report.html").read_text()).text


def as_the_paper_s(config: dict[str, Any]) -> None:
    """Call an experiment's benchmarks as the paper's."""
    config["name"] = "evolm_math"
    named = zip(("math500", "gsm8k", "gpqa_official", "arc_chat"), config["benchmark"].values(), strict=True)
    config["benchmark"] = {
        name: {**each, "group": "ID" if name in ("math500", "gsm8k") else "OOD"} for name, each in named
    }


@pytest.mark.usefixtures("undrawn")
def test_published_values_stand_below_ours_where_the_experiment_is_the_paper_s(tmp_path: Path) -> None:
    study = Synthetic(tmp_path / "store", change=as_the_paper_s)
    study.publish()
    made = study.document()
    found = next(each for each in made.tables() if each.name == "table2")
    assert list(found.head) == ["method", "MATH", "GSM8K", "ID Avg.", "GPQA", "ARC", "OOD Avg.", "Avg."]
    labels = [row.cells[0].text for row in found.rows][:4]
    assert labels == ["ModSFT", "+RL", "ModSFT, published", "ModSFT+RL, published"]
    theirs = {row.cells[0].text: [cell.text for cell in row.cells[1:]] for row in found.rows if row.kind == "paper"}
    assert theirs["OverSFT, published"] == ["15.8", "31.7", "–", "7.8", "13.7", "–", "–"]  # averages of fewer sets
    assert theirs["Rejuvenation+RL, published"][0] == "26.2"
    assert "OOD sets are graded by official scripts, as the paper says; it does not say how it asked" in found.caption
    table1 = {row.cells[0].text: row for row in next(t for t in made.tables() if t.name == "table1").rows}
    assert [cell.text for cell in table1["OverSFT, published"].cells[1:]] == ["0.002", "0.024", "15.8", "11.2"]


@pytest.mark.usefixtures("undrawn")
def test_rows_with_fewer_seeds_do_not_decide(tmp_path: Path) -> None:
    main = "ModSFT,ModSFT+RL,OverSFT,OverSFT+RL"
    study = Synthetic(tmp_path / "store", "seeds=[11,12]", f"replicated=[{main},RandomReset]")
    study.publish()
    made = study.document()
    chains = {name: row["chain"].text for name, row in rows(made, "chains").items()}
    assert chains["RandomReset"] == "sft (epochs 32) → attribute → rejuvenate (neurons random)"
    assert chains["RandomReset+RL"].endswith("rejuvenate (neurons random, seed 11) → grpo")
    found = rows(made, "all")
    assert list(found) == list(study.study.experiment.replicas)
    lead = next(block for block in made.every() if isinstance(block, Paragraph))
    assert lead.text.startswith("No best row: ") and lead.text.endswith("cannot be told apart.")
    items = next(block for block in made.sections[0].blocks if isinstance(block, Items))
    fewer = "DFT+RL, Fusion+RL, Rejuvenation+RL, RandomReset+RL and ModSFT+Rejuvenation+RL"
    assert set(
        items.texts[0]
        .removeprefix("Not compared, as they have fewer seeds: ")
        .removesuffix(".")
        .replace(" and ", ", ")
        .split(", ")
    ) == set(fewer.replace(" and ", ", ").split(", "))
    captions = {each.name: each.caption for each in made.tables()}
    assert "Seeds 11 and 12: ModSFT, OverSFT, RandomReset, ModSFT+RL and OverSFT+RL." in captions["table2"]
    assert "Seed 11 alone: Rejuvenation, Rejuvenation+RL and RandomReset+RL." in captions["table2"]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("number", "named"), [(5, "Fusion-{}+RL"), (6, "Rejuvenation-{}+RL")])
def test_the_sweeps_of_one_seed_say_it_and_mark_nothing(tmp_path: Path, number: int, named: str) -> None:
    values = (0.4, 0.45, 0.5) if number == 5 else (0.005, 0.01, 0.02)
    names = [named.format(value) for value in values]
    study = Synthetic(tmp_path / "store", f"only=[{','.join(names)}]", experiment="+experiment=tiny_paper")
    study.publish()
    table = next(each for each in study.document().tables() if each.name == f"table{number}")
    assert "Seed 11 alone: one run of each row. No value is marked as the highest" in table.caption
    assert not any(cell.mark for row in table.rows for cell in row.cells)


MAIN = ("ModSFT", "OverSFT", "Rejuvenation", "RandomReset")


def planted(tmp_path: Path, **solved: int) -> Document:
    """The report of a study of three seeds in which these rows solve so many of 12 problems after RL."""
    only = ",".join(f"{name},{name}+RL" for name in MAIN)
    study = Synthetic(tmp_path / "store", f"only=[{only}]", "seeds=[11,12,13]")
    study.publish()
    for name, problems in solved.items():
        study.solve(f"{name}+RL", problems)
    return study.document()


@pytest.mark.usefixtures("undrawn")
def test_a_row_that_seeds_tell_from_all_others_is_the_answer_and_is_marked(tmp_path: Path) -> None:
    made = planted(tmp_path, ModSFT=3, OverSFT=3, Rejuvenation=9, RandomReset=3)
    lead, why, *others = made.sections[0].blocks
    assert isinstance(lead, Paragraph) and lead.kind == "lead" and isinstance(why, Paragraph)
    assert lead.text == "Start RL from Rejuvenation: Rejuvenation+RL ends highest of 4 rows after RL."
    assert why.text.startswith("With 3 seeds each, ") and "it is +50.0 [" in why.text
    assert not any(isinstance(block, Command) for block in others)
    items = next(block for block in others if isinstance(block, Items))
    assert items.texts[0].startswith("Rejuvenating OverSFT (Rejuvenation) changes") and "(better)" in items.texts[0]
    for table in ("table2", "all"):
        cells = rows(made, table)["Rejuvenation+RL"]
        assert {cell.mark for name, cell in cells.items() if cell.value is not None} == {"best"}
        assert {cell.mark for cell in rows(made, table)["ModSFT+RL"].values()} == {""}
    text = next(each for each in made.tables() if each.name == "table2").caption
    assert "Seeds 11, 12 and 13." in text and "excludes 0" in text


@pytest.mark.usefixtures("undrawn")
def test_rows_that_cannot_be_told_apart_are_named_and_none_of_them_is_best(tmp_path: Path) -> None:
    made = planted(tmp_path, ModSFT=3, OverSFT=2, Rejuvenation=9, RandomReset=9)
    lead, why, command, *_ = made.sections[0].blocks
    assert isinstance(lead, Paragraph) and isinstance(why, Paragraph) and isinstance(command, Command)
    assert lead.text == "No best row: Rejuvenation+RL and RandomReset+RL cannot be told apart."
    assert "The other 2 are lower than Rejuvenation+RL." in why.text
    assert "'only=[Rejuvenation+RL,RandomReset+RL]' 'seeds=[14,15,16,17,18,19]'" in command.text
    assert {cell.mark for row in rows(made, "table2").values() for cell in row.values()} <= {"", "first"}


@pytest.mark.usefixtures("undrawn")
def test_rows_without_any_score_above_0_are_no_recommendation(tmp_path: Path) -> None:
    made = planted(tmp_path, ModSFT=0, OverSFT=0, Rejuvenation=0, RandomReset=0)
    assert "cannot be told apart" in markdown.render(made).partition("## State")[0]


@pytest.mark.usefixtures("undrawn")
def test_nothing_is_judged_before_all_seeds_are_there(tmp_path: Path) -> None:
    study = Synthetic(tmp_path / "store", "only=[ModSFT+RL,OverSFT+RL]", "seeds=[11,12,13]")
    study.publish()
    study.remove(study.study.graph.scores["OverSFT+RL@seed=13", "tiny_sums"])
    lead, command, *_ = study.document().sections[0].blocks
    assert isinstance(lead, Paragraph) and isinstance(command, Command)
    assert lead.text.startswith("No answer yet: 1 of 2 rows after RL have all of their 3 seeds")
    assert "seeds=[11,12,13]" in command.text and "only=[ModSFT+RL,OverSFT+RL]" in command.text


@pytest.mark.usefixtures("undrawn")
def test_one_row_is_no_choice(tmp_path: Path) -> None:
    study = Synthetic(tmp_path / "store", "only=[ModSFT,ModSFT+RL]", "seeds=[11,12]")
    study.publish()
    lead, *_ = study.document().sections[0].blocks
    assert isinstance(lead, Paragraph)
    assert lead.text == "No recommendation: ModSFT+RL is the only row to compare, so this study chooses nothing."


@pytest.mark.usefixtures("undrawn")
def test_the_front_page_says_how_much_is_reset_and_on_what_it_was_trained(tmp_path: Path) -> None:
    study = Synthetic(tmp_path / "store", "only=[OverSFT+RL,Rejuvenation,Rejuvenation+RL]")
    study.publish(resources={"gpus": 0}, processor="EPYC 7")
    repair = study.study.graph.variants["Rejuvenation"]["checkpoint"]
    assert isinstance(repair, Node)
    ratio = json.loads((study.folder(repair) / "record.json").read_text())["summary"]["reset_ratio"]
    front = markdown.render(study.document()).partition("## State")[0]
    assert f"Of all neurons, resets set {100 * ratio:.1f} % (Rejuvenation) back to the base in this study" in front
    assert "Trained on processors (EPYC 7), not on GPUs. Another kind of processor gives other numbers" in front


@pytest.mark.usefixtures("undrawn")
def test_rl_that_learned_nothing_is_said_before_anything_is_made_of_its_row(tmp_path: Path) -> None:
    study = Synthetic(tmp_path / "store", "only=[OverSFT+RL,ModSFT+RL]")
    study.publish()
    (idle,) = (node for node in study.nodes if node.stage == "grpo" and node.label == "ModSFT+RL")
    study.remove(idle)
    flat = {"reward": -1.0, "zero_deviation": 1.0, "gradient_norm": 0.0, "distance_start": 0.0}
    study.publish([idle], summary=flat)
    study.rewrite(idle, "training.jsonl", (json.dumps({"rollout": 1, "step": 1, **flat}) + "\n").encode())
    front = markdown.render(study.document()).partition("## State")[0]
    assert "grpo/ModSFT+RL: RL learned nothing: " in front and "grpo/OverSFT+RL: RL" not in front
