"""Comparing two sides of a study: every number from the artifacts, and nothing a model wrote does more than be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator import compare, comparison, differences, overlap
from orchestrator.command import Command
from orchestrator.comparison import Comparison
from orchestrator.side import Side
from tests.orchestrator import published
from tests.orchestrator.answered import Answered
from tests.orchestrator.published import GROUPS, samples

pytestmark = pytest.mark.usefixtures("toys")

COMMAND = Command("compare", "Mod+RL", frozenset(), ["+experiment=toy"], other="Over+RL")

#: p1 flips to right, p2 to wrong, p3 moves, p4 stays, p5 too.
BEFORE = {"p1": [0, 0], "p2": [1, 1], "p3": [0, 0], "p4": [1, 1], "p5": [0, 0]}
AFTER = {"p1": [1, 1], "p2": [0, 1], "p3": [1, 0], "p4": [1, 1], "p5": [0, 0]}


def graded(each: dict[str, list[int]]) -> dict[str, list[bool]]:
    return {id: [bool(right) for right in of] for id, of in each.items()}


@pytest.fixture
def made(tmp_path: Path) -> Answered:
    """A study of which one benchmark is answered by two variants."""
    found = Answered(tmp_path / "store")
    found.answer("Mod+RL", "sums", graded(BEFORE))
    found.answer("Over+RL", "sums", graded(AFTER))
    return found


def compared(made: Answered, first: list[str], second: list[str]) -> Comparison:
    return comparison.compare(Side("one", made.study, first, COMMAND), Side("two", made.study, second, COMMAND))


def act(made: Answered, *flags: str) -> int:
    return compare.verb(
        made.study, Command("compare", "Mod+RL", frozenset(flags), ["+experiment=toy"], other="Over+RL")
    )


def test_what_changed_and_what_flipped(made: Answered) -> None:
    found = compared(made, ["Mod+RL"], ["Over+RL"]).benchmarks["sums"]
    assert (found.before, found.after, found.problems) == (0.4, 0.6, 5)
    assert (found.to_right, found.to_wrong, found.p) == (1, 1, 1.0)
    moved = compared(made, ["Mod+RL"], ["Over+RL"]).moved
    assert [(each.id, each.flip) for each in moved] == [("p1", "right"), ("p2", "wrong"), ("p3", "")]


def test_numbers_are_those_of_the_table_of_differences(tmp_path: Path) -> None:
    made = Answered(tmp_path / "store")
    for seed, variant in enumerate(("Repaired+RL", "Over+RL")):
        for number, name in enumerate(GROUPS):
            made.evaluate(variant, name, samples(made.k(name), seed=10 * seed + number))
    table = differences.table(made.experiment, made.graph, made.store)
    expected = dict(zip(table.columns, table.found["Repaired+RL-Over+RL"], strict=True))
    found = compared(made, ["Over+RL"], ["Repaired+RL"])
    changes = {**{name: each.change for name, each in found.benchmarks.items()}, **found.averages}
    assert changes.keys() == expected.keys() and "avg" in changes
    for name, change in changes.items():
        other = expected[name]
        assert change is not None and other is not None
        assert (change.mean, change.low, change.high) == pytest.approx((other.mean, *other.interval))


def test_what_is_missing_and_what_makes_it(made: Answered) -> None:
    found = compared(made, ["Mod+RL"], ["Over+RL"])
    assert list(found.benchmarks) == ["sums"] and "ID avg" not in found.averages
    assert [each.evaluation for each in found.missing][:2] == ["evaluate/Mod+RL.chains", "evaluate/Over+RL.chains"]
    assert len(found.missing) == 8
    assert found.missing[0].state == "run" and found.missing[0].reason.startswith("new; after ")
    assert found.missing[0].command == "python -m orchestrator run 'only=[Mod+RL]' +experiment=toy"


def test_other_problems_and_other_k_are_said_and_the_common_ones_compared(made: Answered) -> None:
    after = {id: [*each, 1] for id, each in AFTER.items() if id != "p4"}
    made.answer("Over+RL", "sums", graded({**after, "p9": [1, 1, 1]}))
    found = compared(made, ["Mod+RL"], ["Over+RL"])
    assert found.notes == [
        "sums: 2 and 3 samples of each problem; shares are compared all the same",
        "sums: 5 and 5 problems; only the 4 of both are compared",
    ]
    assert found.benchmarks["sums"].problems == 4


def test_two_test_sets_share_the_problems_with_one_prompt_and_answer(
    made: Answered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def longer(file: Path) -> dict[str, Any]:
        found = plain(file)
        file.write_text(file.read_text() + '{"question": "more?", "answer": "1"}\n')
        return found

    plain = published._data
    monkeypatch.setattr(published, "_data", longer)
    (tmp_path / "other").mkdir()
    other = Answered(tmp_path / "other" / "store")
    sides = Side("one", made.study, ["Mod+RL"], COMMAND), Side("two", other.study, ["Over+RL"], COMMAND)
    for gold, common in (("1", 5), ("7", 0)):
        other.answer("Over+RL", "sums", graded(AFTER), gold=gold)
        found = comparison.compare(*sides)
        assert f"sums: two test sets; only what both have is compared, {common} problems" in found.notes
        assert ("sums" in found.benchmarks) == (common > 0)


def test_several_seeds_are_compared_seed_by_seed_and_pooled(made: Answered) -> None:
    made.answer("Repaired+RL", "sums", graded({id: [1, 1] for id in BEFORE}))
    found = compared(made, ["Mod+RL"], ["Over+RL", "Repaired+RL"]).benchmarks["sums"]
    assert found.change is not None and found.change.seeds == 2
    assert found.change.each == pytest.approx((0.2, 0.6)) and found.change.mean == pytest.approx(0.4)
    assert found.problems == 5  # the same ones in both seeds: each is one unit of McNemar's test
    assert (found.to_right, found.to_wrong) == (2, 0)


def test_of_several_seeds_the_one_that_changed_most_is_shown(made: Answered) -> None:
    made.answer("Repaired+RL", "sums", graded({id: [1, 1] for id in BEFORE}))
    for seeds in (["Over+RL", "Repaired+RL"], ["Repaired+RL", "Over+RL"]):
        for each in compared(made, ["Mod+RL"], seeds).moved:
            before, after = (overlap.read(folder)[each.id][0] for folder in each.rows)
            assert abs(after - before) == max(abs(end - before) for end in (sum(AFTER[each.id]) / 2, 1.0))


def test_lines_for_a_terminal(made: Answered, capsys: pytest.CaptureFixture[str]) -> None:
    assert act(made) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[:2] == ["Mod+RL -> Over+RL", "benchmark Mod+RL Over+RL change to right to wrong p problems"]
    assert lines[3].startswith("sums 40.0 60.0 +20.0 [") and lines[3].endswith("] 1 1 1 5")
    assert "flipped to right: 1, the first 1 of them:" in lines
    at = lines.index("sums, problem p1, gold 1: 0 of 2 right -> 2 of 2 right")
    assert lines[at + 1 : at + 6] == [
        "Question p1?",
        "Mod+RL Over+RL",
        lines[at + 3],
        "wrong right",
        "Mod+RL says 2 Over+RL says 1",
    ]


def test_an_object_for_scripts(made: Answered, capsys: pytest.CaptureFixture[str]) -> None:
    assert act(made, "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert (found["first"]["name"], found["second"]["name"]) == ("Mod+RL", "Over+RL")
    assert found["benchmarks"]["sums"]["change"]["mean"] == pytest.approx(0.2)
    assert found["flips"] == [
        {"benchmark": "sums", "id": "p1", "first": 0.0, "second": 1.0, "to": "right"},
        {"benchmark": "sums", "id": "p2", "first": 1.0, "second": 0.5, "to": "wrong"},
    ]
    assert len(found["missing"]) == 8


def test_nothing_is_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Answered(tmp_path / "store")
    assert act(made) == 1
    out = capsys.readouterr().out
    assert "nothing of it can be compared yet" in out
    lines = [line for line in out.splitlines() if line.startswith("missing: ")]
    assert lines[0].startswith("missing: evaluate/Mod+RL.sums and 4 more: run, new; after toy_train/Mod+RL; python -m ")
    assert len(lines) == 2


@pytest.mark.parametrize("flags", [(), ("--html",)])
def test_generations_that_a_disk_has_spoilt_are_named(
    flags: tuple[str, ...], made: Answered, capsys: pytest.CaptureFixture[str]
) -> None:
    node = made.graph.scores["Over+RL", "sums"]
    file = made.store.final(node.stage, node.label, node.fingerprint) / "generations.parquet"
    file.write_bytes(b"x" * file.stat().st_size)
    assert act(made, *flags) == 1
    assert capsys.readouterr().err.startswith(f"error: {file} cannot be read (")


HOSTILE = "\x1b[2J\x1b]0;owned\x07[red]x[/red]</script><script>alert(1)</script>\u202e"


def test_what_a_model_wrote_is_only_text(made: Answered, capsys: pytest.CaptureFixture[str]) -> None:
    texts = {"prompt": HOSTILE, "completion": HOSTILE, "gold": HOSTILE}
    made.answer("Mod+RL", "sums", {HOSTILE: [False], "p": [True]}, **texts)
    made.answer("Over+RL", "sums", {HOSTILE: [True], "p": [True]}, **texts)
    assert act(made) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\x07" not in out and "\u202e" not in out
    assert "[red]x[/red]" in out


@pytest.mark.parametrize(
    ("text", "last", "shown"),
    [
        ("short\n", False, "short"),
        ("\n".join("abcdefghijkl"), False, "a\nb\nc\nd\ne\nf\ng\nh ..."),
        ("\n".join("abcdefghijkl"), True, "... e\nf\ng\nh\ni\nj\nk\nl"),
        ("x" * 700, False, "x" * 600 + " ..."),
    ],
)
def test_a_long_text_is_cut(text: str, last: bool, shown: str) -> None:
    assert compare.cut(text, last=last) == shown
