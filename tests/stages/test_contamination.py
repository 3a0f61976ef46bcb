"""The stage `contamination`: what counts as a problem that the data has."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from launch import failure, worker
from launch.node import InputSpec, NodeSpec
from stages import contamination
from stages.contract import Context, Input, Resources, StageError
from stages.identity import fingerprint, identity
from stages.overlap import guard
from stages.overlap.corpus import encode
from stages.progress import Progress
from stages.store import Store

THIRTEEN = "one two three four five six seven eight nine ten eleven twelve thirteen"
TWELVE = THIRTEEN.removesuffix(" thirteen")
#: A source whose columns are its fields.
PLAIN = {
    name: f"{{{{ {name} }}}}" for name in ("id", "question", "answer", "prompt", "completion")
}  # those of them that a source has


def source(file: Path, rows: list[dict[str, str]]) -> Input:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Input(fingerprint=file.stem, path=file, reading={"fields": {name: PLAIN[name] for name in rows[0]}})


def context(folder: Path, problems: list[str], corpus: list[dict[str, str]], **known: Any) -> Context:
    (folder / "output").mkdir(exist_ok=True)
    benchmark = [{"question": question, "answer": "1"} for question in problems]
    return Context(
        inputs={
            "benchmark": source(folder / "benchmark.jsonl", benchmark),
            "corpus": source(folder / "corpus.jsonl", corpus),
        },
        work=folder,
        output=folder / "output",
        resources=Resources(),
        progress=Progress(folder / "progress.json"),
        **known,
    )


#: For those tests that report none: what is written there is replaced, so it is a file of their own.
_FOLDER = tempfile.TemporaryDirectory()
PROGRESS = Progress(Path(_FOLDER.name) / "progress.json")


def matches(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "output" / "matches.parquet").to_pylist()


def contaminated(problem: str, *texts: str) -> bool:
    """Whether a problem is found in rows with these completions."""
    corpus = encode({"prompt": "Solve.", "completion": text} for text in texts)
    return bool(guard.search([problem], ["0"], 13, corpus, PROGRESS))


def test_the_summary_and_the_matches(tmp_path: Path) -> None:
    problems = [f"First, {THIRTEEN}?", "Nothing " * 20, "Two plus two", "Three plus three", "Zero " + THIRTEEN]
    corpus = [
        {"question": "Something else", "prompt": "Q: Something else", "completion": "nothing"},
        {"question": "two plus two!", "prompt": "Q: two plus two!", "completion": THIRTEEN.upper()},
        {"question": f"zero {THIRTEEN}", "prompt": "Q", "completion": THIRTEEN},
    ]
    found = contamination.run(contamination.Config(ngram=13), context(tmp_path, problems, corpus))
    assert found == {
        "problems": 5,
        "checked": 3,
        "contaminated": 3,
        "share": 0.6,
        "short": 2,
        "short_equal": 1,
    }
    assert json.loads((tmp_path / "output" / "summary.json").read_text()) == found
    assert matches(tmp_path) == [
        {"problem": 0, "id": "0", "ngram": THIRTEEN, "row": 1, "whole": False},
        {"problem": 2, "id": "2", "ngram": "two plus two", "row": 1, "whole": True},
        {"problem": 4, "id": "4", "ngram": f"zero {TWELVE}", "row": 2, "whole": True},
    ]


def test_thirteen_words_are_enough_and_twelve_are_not() -> None:
    assert contaminated(f"Say {THIRTEEN} aloud", f"He said {THIRTEEN} twice")
    assert not contaminated(f"Say {TWELVE} aloud", f"He said {TWELVE} twice")
    assert not contaminated(TWELVE, f"{TWELVE} and on")  # short: only as the whole question of a row


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (THIRTEEN, THIRTEEN.upper().replace(" ", ", ") + "!"),
        (THIRTEEN, THIRTEEN.replace(" ", "\n\n")),
        (
            r"$\frac{a}{b} = x^2 + 1$, $f(x)=3x$, find $f(2), b$",
            r"\(\frac {a} {b}=x^{2}+1\) \(f(x) = 3x\): find f(2), b",
        ),
        ("Сколько будет " + "очень " * 11 + "много", "сколько БУДЕТ " + "очень " * 11 + "много"),
        ("cafe\u0301 " * 13, "CAFÉ " * 13),
    ],
)
def test_punctuation_case_spacing_and_unicode_forms_do_not_count(problem: str, text: str) -> None:
    assert contaminated(problem, text)


def test_no_ngram_spans_two_fields_or_two_rows(tmp_path: Path) -> None:
    half, rest = "one two three four five six", "seven eight nine ten eleven twelve thirteen"
    assert f"{half} {rest}" == THIRTEEN
    assert not contaminated(THIRTEEN, half, rest)
    corpus = [{"prompt": half, "completion": rest}]
    assert contamination.run(contamination.Config(ngram=13), context(tmp_path, [THIRTEEN], corpus))["share"] == 0


@given(st.randoms(use_true_random=False), st.integers(13, 30), st.integers(1, 13))
def test_a_planted_ngram_is_always_found_and_shuffled_words_are_not(draw: random.Random, length: int, n: int) -> None:
    question = [f"w{number}" for number in range(length)]
    start = draw.randrange(length - n + 1)
    planted = question[start : start + n]
    noise = [[f"n{draw.randrange(50)}" for _ in range(draw.randrange(40))] for _ in range(4)]
    place, row = draw.randrange(len(noise[0]) + 1), draw.randrange(4)
    texts = [*noise[1:row], [*noise[0][:place], *planted, *noise[0][place:]], *noise[row:]]
    search = [{"completion": " ".join(text)} for text in texts]
    (match,) = guard.search([" ".join(question)], ["q"], n, encode(search), PROGRESS)
    assert match.ngram == " ".join(planted) and planted[0] in texts[match.row] and not match.whole
    if n > 1:
        swapped = {"completion": " ".join(reversed(question))}
        assert guard.search([" ".join(question)], ["q"], n, encode([swapped]), PROGRESS) == []


def test_the_benchmarks_of_one_job_read_the_corpus_once(tmp_path: Path) -> None:
    shared: dict[Any, Any] = {}
    corpus = [{"prompt": "a b", "completion": "c"}]
    contamination.run(contamination.Config(ngram=2), context(tmp_path, ["x a b"], corpus, shared=shared))
    [read] = shared.values()
    found = contamination.run(contamination.Config(ngram=2), context(tmp_path, ["b a"], corpus, shared=shared))
    assert list(shared.values()) == [read] and found["contaminated"] == 0


def test_ids_are_those_of_the_benchmark_and_a_prompt_stands_in_for_a_question(tmp_path: Path) -> None:
    given = context(tmp_path, ["unused"], [{"prompt": "a b"}])
    given.inputs["benchmark"] = source(tmp_path / "own.jsonl", [{"id": "x-7", "prompt": "A b"}])  # type: ignore[index]
    contamination.run(contamination.Config(ngram=13), given)
    assert [(match["id"], match["whole"]) for match in matches(tmp_path)] == [("x-7", True)]


def test_a_benchmark_without_questions_is_refused(tmp_path: Path) -> None:
    given = context(tmp_path, ["unused"], [{"prompt": "a b"}])
    given.inputs["benchmark"] = source(tmp_path / "own.jsonl", [{"answer": "1"}])  # type: ignore[index]
    with pytest.raises(StageError, match="own.jsonl: fields has answer; a benchmark has a question"):
        contamination.run(contamination.Config(ngram=13), given)


def test_it_runs_in_a_worker_and_is_published(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    given = context(tmp_path, [THIRTEEN], [{"prompt": "p", "completion": THIRTEEN}]).inputs
    own = identity("contamination", contamination.VERSION, {"ngram": 13}, {k: i.fingerprint for k, i in given.items()})
    folder = store.job("contamination", fingerprint(own))
    NodeSpec(
        store=str(store.root),
        stage="contamination",
        label="tiny.demonstrations",
        fingerprint=fingerprint(own),
        identity=own,
        inputs={
            kind: InputSpec(fingerprint=each.fingerprint, path=str(each.path), reading=dict(each.reading))
            for kind, each in given.items()
        },
        continues=[],
        resources={},
    ).write(folder)
    code = worker.run(folder, {})
    assert code == 0, failure.messages(folder)
    record = store.record("contamination", fingerprint(own))
    assert record is not None and record["summary"]["contaminated"] == 1


@pytest.mark.parametrize("ngram", [0, -1, 1.5, "13"])
def test_an_ngram_is_at_least_one_word(ngram: Any) -> None:
    with pytest.raises(ValidationError):
        contamination.Config(ngram=ngram)
