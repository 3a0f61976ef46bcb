"""Gold answers while a study is planned: what does not parse is found, once, in bounded time."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import benchmarks, golds
from orchestrator.experiment import Data
from orchestrator.refusal import ConfigError
from orchestrator.sources import Source, Sources

#: What the stage evaluate is told of a benchmark.
MATH = SimpleNamespace(kind="math", problems=None, shuffle_choices=None, template="{{ question }}")
LETTER = SimpleNamespace(kind="letter", problems=None, shuffle_choices=None, template="{{ question }}")


def made(folder: Path, rows: list[dict[str, Any]], fields: str = "question answer") -> tuple[Source, Sources]:
    (folder / "store").mkdir(exist_ok=True)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = Sources(folder / "store")
    named = {name: name if name == "choices" else f"{{{{ {name} }}}}" for name in fields.split()}
    return sources.data(Data(path=str(folder / "rows.jsonl"), fields=named), "benchmark.x.data", None), sources


def test_golds_that_do_not_parse_are_found_among_those_that_do() -> None:
    given = ["5", "\\frac{1}{2}", "", "x^2", "\\", "5", "1" * 2000]
    wrong, seen = golds.unreadable(given)
    assert wrong.keys() == {"", "\\", "1" * 2000} and seen == len(given)


def test_plain_numbers_ask_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.grading.pool.Graders", None)
    assert golds.unreadable(["5", "-1.50", "300"]) == ({}, 3)


def test_what_takes_too_long_is_left_to_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golds, "SECONDS", -1.0)
    assert golds.unreadable(["5", "x", "y"]) == ({}, 1)


def test_a_benchmark_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, sources = made(tmp_path, [{"question": "q", "answer": "\\"}, {"question": "p", "answer": "x"}])
    with pytest.raises(ConfigError) as caught:
        benchmarks.check(source, MATH, "benchmark.x.data", sources)
    told = f"benchmark.x.data={tmp_path / 'rows.jsonl'}: gold answers that do not parse: 0 ('\\\\')"
    assert caught.value.messages == [told]
    good, sources = made(tmp_path, [{"question": "p", "answer": "x"}] * 3)
    (note,) = benchmarks.check(good, MATH, "benchmark.x.data", sources).notes
    assert note.endswith(
        "rows.jsonl: 2 of its rows repeat the question and the answer of another row, as rows 1 and 2 do"
    )
    sources.remember()
    monkeypatch.setattr(golds, "unreadable", None)
    again, sources = made(tmp_path, [{"question": "p", "answer": "x"}] * 3)
    assert benchmarks.check(again, MATH, "benchmark.x.data", sources).notes == (note,)
    assert again.fingerprint == good.fingerprint


def test_problems_of_rl_may_have_some_golds_that_reward_nothing(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "answer": "\\"}, {"prompt": "p", "answer": "x"}]
    source, sources = made(tmp_path, rows, "prompt answer")
    (note,) = benchmarks.check_problems(source, "problems", sources).notes
    assert "gold answers that do not parse, and so reward nothing: of the rows 1 ('\\\\')" in note
    source, sources = made(tmp_path, rows[:1], "prompt answer")
    with pytest.raises(ConfigError, match="gold answers that do not parse: all 1, the first of them 1"):
        benchmarks.check_problems(source, "problems", sources)


def choices(*answers: Any) -> list[dict[str, Any]]:
    return [{"question": f"q{n}", "answer": each, "choices": ["a", "b", "c"]} for n, each in enumerate(answers)]


def test_answers_that_are_counted_from_0(tmp_path: Path) -> None:
    fields = "question choices answer"
    source, sources = made(tmp_path, choices(0, 2, 1), fields)
    with pytest.raises(ConfigError, match=r"no choice: 0 \('0', expected a letter\); Answers that are counted from 0"):
        benchmarks.check(source, LETTER, "benchmark.x.data", sources)
    doubtful, sources = made(tmp_path, choices(1, 2, 1), fields)
    (note,) = benchmarks.check(doubtful, LETTER, "benchmark.x.data", sources).notes
    assert "none is that of the last choice; 1 is read as A" in note
    for answers in ((1, 2, 3), ("A", "B"), ("1", "3")):
        certain, sources = made(tmp_path, choices(*answers), fields)
        assert benchmarks.check(certain, LETTER, "benchmark.x.data", sources).notes == ()
